"""Style and script of the pages: light and dark, phone and desktop, paper. No request leaves the page."""

CSS = """
:root{color-scheme:light dark;--ink:#1c1f23;--soft:#565e68;--paper:#fbfaf8;--card:#fff;--line:#dcdad4;--accent:#9a3412;--tint:#f3efe8;--second:#1d4ed8}
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--soft:#a9aeb5;--paper:#15171a;--card:#1e2125;--line:#3a3f46;--accent:#fb923c;--tint:#262a2f;--second:#93c5fd}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1360px;margin:0 auto;padding:1.2rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.6rem 0 .3rem}h2{font-size:1.25rem;margin:2.4rem 0 .6rem;border-bottom:2px solid var(--line);padding-bottom:.25rem}
h3{font-size:1.02rem;margin:1.4rem 0 .4rem;overflow-wrap:anywhere}p{margin:.4rem 0 .8rem}.soft{color:var(--soft);font-size:.9rem}
.mark{display:inline-block;background:var(--accent);color:#fff;border-radius:3px;padding:.05rem .5rem;font-weight:600;font-size:.85rem;letter-spacing:.03em}
@media(prefers-color-scheme:dark){.mark{color:#15171a}}
.lead{font-size:1.08rem}.warn{border-left:5px solid var(--accent);background:var(--tint);padding:.6rem .9rem;border-radius:0 6px 6px 0}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem;margin:.6rem 0}a{color:var(--accent)}nav a{padding:.2rem 0}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;background:var(--card);margin:.4rem 0 1rem;max-width:100%}
.scroll:focus-visible,.stack:focus-visible,button:focus-visible,summary:focus-visible,a:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .5rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
th{background:var(--tint)!important;font-weight:600;white-space:normal;min-width:4.4em;vertical-align:bottom}tr:last-child td{border-bottom:0}
td.best{font-weight:700;color:var(--accent)}table.words td,table.words th{text-align:left;white-space:normal;overflow-wrap:anywhere}
table.words td{min-width:6em}
.view{border:1px solid var(--line);border-radius:8px;background:var(--card);padding:.7rem;margin:.6rem 0 1.4rem}
.show{min-width:0}.stack,.swipe,.tools,.cap{width:min(100%,calc(76vh*var(--ar)));min-width:min(100%,17rem);margin-left:auto;margin-right:auto}
.stack{position:relative;background:#777;overflow:hidden;border-radius:4px;touch-action:pan-y;user-select:none;-webkit-user-select:none}
.stack.deep{touch-action:none;cursor:grab}.lay{position:absolute;inset:0;display:none}.lay.on{display:block}.lay.top{z-index:2}
.lay img{position:absolute;inset:0;width:100%;height:100%;transform-origin:0 0;pointer-events:none}
.stack.coarse .lay img{image-rendering:pixelated}
.edge{position:absolute;top:0;bottom:0;width:2px;margin-left:-1px;background:#fff;box-shadow:0 0 3px #000;z-index:3;display:none;pointer-events:none}
.edge:after{content:'\\2194';position:absolute;top:50%;left:50%;width:2.2rem;height:2.2rem;margin:-1.1rem;border-radius:50%;background:#fffd;color:#222;
font:1.2rem/2.2rem system-ui;text-align:center;box-shadow:0 0 4px #000a}
.tag{position:absolute;z-index:4;top:.4rem;background:#000c;color:#fff;font-size:.78rem;padding:.1rem .45rem;border-radius:3px;max-width:47%;pointer-events:none}
.tag.l{left:.4rem}.tag.r{right:.4rem;display:none}.tag.s{top:auto;bottom:.4rem;left:.4rem;background:#9a3412}
.tag.b{top:auto;bottom:.4rem;right:.4rem;text-align:center;padding:.1rem .4rem .3rem}.tag.b i{display:block;height:5px;border:2px solid #fff;border-top:0}
fieldset{border:0;padding:0;margin:.5rem 0;min-width:0}legend{font-size:.8rem;color:var(--soft);padding:0;margin-bottom:.2rem}
.pick{display:flex;flex-wrap:wrap;gap:.3rem}
.pick label{cursor:pointer;position:relative}.pick input{position:absolute;opacity:0;width:1px;height:1px}
.pick span{display:block;border:1px solid var(--line);border-radius:4px;padding:.28rem .6rem;font-size:.84rem;background:var(--paper)}
.pick input:checked+span{background:var(--ink);color:var(--paper);border-color:var(--ink)}
.pick input:focus-visible+span{outline:3px solid var(--accent);outline-offset:1px}
.swipe,.tools{display:flex;gap:.3rem .6rem;flex-wrap:wrap;align-items:center;margin-top:.5rem;font-size:.86rem}
.swipe input[type=range]{flex:1 1 10rem;min-width:0;accent-color:var(--accent);min-height:2rem;margin:0}.swipe label{max-width:100%}
.tools button{font:inherit;min-width:2.4rem;min-height:2.2rem;padding:.1rem .6rem;background:var(--paper);color:var(--ink);border:1px solid var(--line);
border-radius:4px;cursor:pointer}
.tools output{color:var(--soft);font-size:.8rem;margin-left:auto;font-variant-numeric:tabular-nums}
select{font:inherit;max-width:100%;padding:.3rem .2rem;background:var(--paper);color:var(--ink);border:1px solid var(--line);border-radius:4px}
.cap{margin-top:.5rem;font-size:.86rem;min-height:3.4em}.cap>div+div{margin-top:.3rem}.key{display:inline-flex;align-items:center;margin:.15rem .7rem .15rem 0}
.key i{width:1.1em;height:1.1em;border-radius:2px;margin-right:.35em;display:inline-block;border:1px solid #7778;flex:none}
.key .ramp{width:9rem;height:.8em;margin:0 .5em}
details{margin:.5rem 0}summary{cursor:pointer;font-weight:600;padding:.2rem 0}
pre{overflow-x:auto;background:var(--tint);padding:.7rem;border-radius:6px;font-size:.78rem}
img.sheet{width:100%;height:auto;border-radius:4px}code{font-size:.86em;overflow-wrap:anywhere}
.charts{display:flex;flex-wrap:wrap;gap:1rem;margin:.4rem 0 1rem}
.charts figure{flex:1 1 20rem;max-width:30rem;margin:0;background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.5rem .6rem}
.charts figcaption{font-size:.84rem;font-weight:600;margin-bottom:.2rem}.charts svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
.charts text{fill:var(--ink)}.charts .ax{stroke:var(--line)}.charts .zero{stroke:var(--soft);stroke-dasharray:3 3}.charts .ci{stroke:var(--second);stroke-width:2}
.charts .dot{fill:var(--second)}.charts .run .ci{stroke:var(--accent)}.charts .run .dot{fill:var(--accent)}.charts .small{fill:var(--soft);font-size:11px}
@media(min-width:1000px){.view{display:grid;grid-template-columns:minmax(0,1fr) 21rem;gap:1rem}.picks{max-height:calc(76vh + 9rem);overflow-y:auto}}
@media(max-width:999px) and (orientation:portrait){.show{display:contents}.stack{position:sticky;top:0;z-index:5}}
@media(max-width:600px){main{padding:.8rem .7rem 3rem}.view{padding:.5rem}.tools button{min-height:2.75rem;min-width:2.75rem}.pick span{padding:.5rem .7rem}
.swipe input[type=range]{min-height:2.75rem}.tools output{display:none}}
@media print{.stack{position:relative!important}.show{display:block!important}
:root{--ink:#000;--soft:#333;--paper:#fff;--card:#fff;--line:#999;--accent:#7c2d12;--tint:#eee;--second:#1e3a8a}
body{font-size:10pt}main{max-width:none;padding:0}.picks,.swipe,.tools,nav{display:none}.view{display:block;break-inside:avoid}.stack,.cap{width:14cm}
.stack,.key i,.mark,.tag{print-color-adjust:exact;-webkit-print-color-adjust:exact}.scroll{overflow:visible;border:0}table{font-size:6.5pt}
th,td{padding:.1rem .2rem;white-space:normal}th{min-width:0}tr,figure{break-inside:avoid}h2,h3{break-after:avoid}}
"""

# Positions are shares of the frame, so that nothing moves when the window changes its size. A finger moves the border
# only when it goes sideways: up and down it scrolls the page.
JS = """
document.querySelectorAll('.view').forEach(function(v){
function q(x){return v.querySelector(x)}function all(x){return [].slice.call(v.querySelectorAll(x))}
var s=q('.stack'),lay=all('.lay'),im=all('.lay img'),e=q('.edge'),r=q('input[type=range]'),o=q('select'),pick=all('.pick input'),
L=q('.tag.l'),R=q('.tag.r'),cap=all('.cap>div'),bar=q('.tag.b'),at=q('output'),D=v.dataset,w=+D.width,z=1,fx=0,fy=0,ptr={},mode='',old=null,from=null;
function cur(){for(var i=0;i<pick.length;i++)if(pick[i].checked)return +pick[i].value;return 0}
function clamp(x,a,b){return Math.min(b,Math.max(a,x))}
function pair(){return +o.value>=0&&+o.value!==cur()}
function scale(){var W=s.clientWidth||1,m=w/(W*z),n=110*m,p=Math.pow(10,Math.floor(Math.log10(n))),k=p;
[5,2].forEach(function(f){if(k===p&&f*p<=n)k=f*p});bar.querySelector('i').style.width=k/m+'px';
bar.querySelector('b').textContent=k>=1000?k/1000+' km':k+' m';s.classList.toggle('coarse',W*z/+D.cols>=1.5)}
function draw(){var a=cur(),b=+o.value,x=+r.value,two=pair(),t='translate('+100*fx+'%,'+100*fy+'%) scale('+z+')';
lay.forEach(function(m,i){m.className=i===a?'lay on':two&&i===b?'lay on top':'lay';m.style.clipPath=two&&i===b?'inset(0 0 0 '+x+'%)':'';
if(i===a||i===b)im[i].style.transform=t});
e.style.display=R.style.display=two?'block':'none';e.style.left=x+'%';L.textContent=im[a].alt;if(two)R.textContent=im[b].alt;
r.disabled=!two;cap.forEach(function(d,i){d.hidden=!(i===a||(two&&i===b))});s.classList.toggle('deep',z>1);scale()}
function zoom(f,x,y){var n=clamp(z*f,1,24);fx=clamp(x-(x-fx)*n/z,1-n,0);fy=clamp(y-(y-fy)*n/z,1-n,0);z=n;draw()}
function pan(x,y){fx=clamp(fx+x,1-z,0);fy=clamp(fy+y,1-z,0);draw()}
function where(p){var b=s.getBoundingClientRect();return [(p.clientX-b.left)/b.width,(p.clientY-b.top)/b.height]}
function swap(){if(pair()){var a=cur(),b=+o.value;o.value=a;choose(b)}}
function choose(i){pick.forEach(function(p){p.checked=+p.value===i});draw()}
function step(d){var a=pick.findIndex(function(p){return p.checked});choose(+pick[(a+d+pick.length)%pick.length].value)}
function reset(){z=1;fx=fy=0;draw()}
v.addEventListener('input',draw);v.addEventListener('change',draw);window.addEventListener('resize',draw);
s.addEventListener('pointerdown',function(p){if(p.pointerType==='mouse'&&p.button)return;ptr[p.pointerId]=where(p);var n=Object.keys(ptr).length,h=where(p);
mode=n>1?'pinch':pair()&&(z===1||Math.abs(h[0]-r.value/100)*s.clientWidth<26)?'swipe':'pan';old=null;
from=p.pointerType==='mouse'?null:h;if(!from)s.setPointerCapture(p.pointerId);if(mode==='swipe'&&!from){r.value=100*h[0];draw()}});
s.addEventListener('pointermove',function(p){var h=where(p);
if(at&&D.x0)at.textContent='x '+(+D.x0+(h[0]-fx)/z*D.dx).toFixed(D.digits)+'  y '+(+D.y0-(h[1]-fy)/z*D.dy).toFixed(D.digits)+'  '+D.crs;
if(!ptr[p.pointerId])return;var last=ptr[p.pointerId];ptr[p.pointerId]=h;var k=Object.keys(ptr);
if(mode==='swipe'){if(from&&Math.abs(h[0]-from[0])<.02)return;from=null;r.value=100*h[0];draw()}else if(mode==='pan')pan(h[0]-last[0],h[1]-last[1]);
else if(k.length>1){var a=ptr[k[0]],b=ptr[k[1]],c=[(a[0]+b[0])/2,(a[1]+b[1])/2,Math.hypot(a[0]-b[0],a[1]-b[1])||.001];
if(old){fx+=c[0]-old[0];fy+=c[1]-old[1];zoom(c[2]/old[2],c[0],c[1])}old=c}});
['pointerup','pointercancel'].forEach(function(n){s.addEventListener(n,function(p){delete ptr[p.pointerId];old=null;
if(mode==='pinch')mode=Object.keys(ptr).length?'pan':''})});
s.addEventListener('dblclick',function(p){var h=where(p);zoom(p.shiftKey?.5:2,h[0],h[1])});
s.addEventListener('wheel',function(p){if(!p.ctrlKey&&!p.metaKey)return;p.preventDefault();var h=where(p);zoom(Math.exp(-p.deltaY/200),h[0],h[1])},{passive:false});
s.addEventListener('keydown',function(p){var k=p.key,d={ArrowLeft:[.1,0],ArrowRight:[-.1,0],ArrowUp:[0,.1],ArrowDown:[0,-.1]}[k];
if(p.ctrlKey||p.metaKey||p.altKey)return;
if(k==='+'||k==='=')zoom(1.5,.5,.5);else if(k==='-')zoom(1/1.5,.5,.5);else if(k==='0')reset();else if(k===',')step(-1);else if(k==='.')step(1);
else if(k===' ')swap();else if(d&&z>1)pan(d[0],d[1]);else if(d&&d[0]&&pair()){r.value=+r.value-50*d[0];draw()}else return;p.preventDefault()});
all('.tools button').forEach(function(b){b.addEventListener('click',function(){({in:function(){zoom(1.5,.5,.5)},out:function(){zoom(1/1.5,.5,.5)},
all:reset,swap:swap})[b.value]()})});
draw()});
"""
