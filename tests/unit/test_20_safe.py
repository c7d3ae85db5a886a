"""Reading SAFE products: root, members, refused archives, size and checksum against the manifest."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from utils.io.safe import open_product, parse_xml
from utils.workflow.errors import InputError

NAME = "S1A_IW_GRDH_1SDV_20200104T191234_20200104T191259_030650_038344_ABCD"
BODY = b"<product><adsHeader/></product>"


def manifest(objects: dict[str, bytes], **changes: object) -> bytes:
    entries = "".join(
        f'<dataObject ID="d{i}"><byteStream mimeType="text/xml" size="{changes.get("size", len(data))}">'
        f'<fileLocation locatorType="URL" href="./{name}"/>'
        f'<checksum checksumName="MD5">{hashlib.md5(data).hexdigest()}</checksum></byteStream></dataObject>'
        for i, (name, data) in enumerate(objects.items())
    )
    return f"""<?xml version="1.0"?><xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe"
     xmlns:gml="http://www.opengis.net/gml"><metadataSection>
     <safe:processing><safe:facility><safe:software name="Sentinel-1 IPF" version="002.36"/></safe:facility>
       <safe:resource><processing><facility><software version="001.00"/></facility></processing></safe:resource>
     </safe:processing>
     <safe:platform><safe:familyName>SENTINEL-1</safe:familyName><safe:number>A</safe:number></safe:platform>
     <safe:footPrint><gml:coordinates>-35.0,150.0 -35.5,150.1 -35.4,152.0 -34.9,151.9</gml:coordinates></safe:footPrint>
     </metadataSection><dataObjectSection>{entries}</dataObjectSection></xfdu:XFDU>""".encode()


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def product_zip(tmp_path: Path) -> Path:
    objects = {"annotation/a.xml": BODY}
    return write_zip(
        tmp_path / f"{NAME}.zip",
        {f"{NAME}.SAFE/annotation/a.xml": BODY, f"{NAME}.SAFE/manifest.safe": manifest(objects)},
    )


def test_zip_and_folder_read_alike(product_zip: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(product_zip).extractall(tmp_path / "out")
    folder = tmp_path / "out" / f"{NAME}.SAFE"
    with open_product(product_zip) as zipped, open_product(folder) as plain:
        assert zipped.name == plain.name == NAME
        assert zipped.members() == plain.members() == ["annotation/a.xml", "manifest.safe"]
        assert zipped.read("./annotation/a.xml") == plain.read("annotation/a.xml") == BODY
        assert zipped.size("annotation/a.xml") == len(BODY) == 31
        assert zipped.gdal_path("annotation/a.xml") == f"/vsizip/{product_zip}/{NAME}.SAFE/annotation/a.xml"
        assert plain.gdal_path("annotation/a.xml") == str(folder / "annotation/a.xml")
        assert zipped.manifest() == plain.manifest()
        zipped.verify(["annotation/a.xml"], "md5")


def test_manifest_facts(product_zip: Path) -> None:
    facts = open_product(product_zip).manifest()
    assert facts.ipf == (2, 36)  # not the version of an input product further down
    assert facts.platform == "S1A"
    assert facts.footprint[0] == (150.0, -35.0)  # longitude first: the file has latitude first
    assert facts.objects["annotation/a.xml"].size == 31


def test_truncated_zip_names_the_remedy(product_zip: Path) -> None:
    product_zip.write_bytes(product_zip.read_bytes()[:-30])
    with pytest.raises(InputError) as caught:
        open_product(product_zip)
    expected = "not a readable zip (central directory missing). Download it again: make download CONF=..."
    assert str(caught.value) == f"{NAME}.zip: {expected}"
    assert caught.value.exit_code == 66


def test_html_page_under_a_zip_name(tmp_path: Path) -> None:
    page = tmp_path / f"{NAME}.zip"
    page.write_text("<!DOCTYPE html><html><body>Please log in</body></html>")
    with pytest.raises(InputError, match="an answer of a web server, not an archive"):
        open_product(page)


@pytest.mark.parametrize("evil", ["../outside.txt", "/etc/outside", "a/../../b", "C:/x", "a\\b"])
def test_members_outside_the_archive_are_refused(tmp_path: Path, evil: str) -> None:
    path = write_zip(tmp_path / "p.zip", {f"{NAME}.SAFE/manifest.safe": manifest({}), evil: b"x"})
    with pytest.raises(InputError, match="points outside the product"):
        open_product(path)


def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "p.zip", {f"{NAME}.SAFE/manifest.safe": manifest({})})
    link = zipfile.ZipInfo(f"{NAME}.SAFE/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="symbolic link"):
        open_product(path)


def test_href_that_climbs_out_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "p.zip", {f"{NAME}.SAFE/manifest.safe": manifest({"../x.xml": b"1"})})
    with pytest.raises(InputError, match="points outside"):
        open_product(path).manifest()


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.safe"):
        open_product(write_zip(tmp_path / "p.zip", {"a/b.txt": b"1"}))
    (tmp_path / "X.SAFE").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.safe"):
        open_product(tmp_path / "X.SAFE")


def test_size_and_checksum_differences_name_both_values(tmp_path: Path) -> None:
    wrong = {f"{NAME}.SAFE/a.xml": b"12345", f"{NAME}.SAFE/manifest.safe": manifest({"a.xml": b"123"})}
    product = open_product(write_zip(tmp_path / "size.zip", wrong))
    with pytest.raises(InputError, match=r"member a\.xml has 5 bytes, manifest\.safe says 3"):
        product.verify(["a.xml"], "size")
    product.verify(["a.xml"], "off")
    wrong = {f"{NAME}.SAFE/a.xml": b"124", f"{NAME}.SAFE/manifest.safe": manifest({"a.xml": b"123"})}
    product = open_product(write_zip(tmp_path / "md5.zip", wrong))
    product.verify(["a.xml"], "size")
    with pytest.raises(InputError, match=r"c8ffe9a587b126f152ed3d89a146b445.*202cb962ac59075b964b07152d234b70"):
        product.verify(["a.xml"], "md5")
    with pytest.raises(InputError, match=r"b\.xml is missing"):
        product.verify(["b.xml"], "size")


def test_flipped_bit_inside_a_member(product_zip: Path) -> None:
    data = bytearray(product_zip.read_bytes())
    data[data.index(b"annotation/a.xml") + len(b"annotation/a.xml") + 2] ^= 0x10
    product_zip.write_bytes(data)
    with pytest.raises(InputError, match=r"annotation/a\.xml cannot be read"):
        open_product(product_zip).read("annotation/a.xml")


def test_xml_errors_name_the_file() -> None:
    with pytest.raises(InputError, match=r"x\.xml is not well-formed XML"):
        parse_xml(b"<a>", "x.xml")


DATA = os.environ.get("S2CR_DATA")


@pytest.mark.realdata
@pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: real products are not here")
def test_real_manifests() -> None:
    folder = Path(DATA or "") / "sentinel1"
    expected = {
        "S1A_IW_GRDH_1SDV_20150222T170725_20150222T170750_004739_005DD8_CEAB.zip": ((2, 36), 117, "ASCENDING", 2, 4),
        "S1A_IW_GRDH_1SDV_20210809T173953_20210809T174018_039156_049F13_6FF8.SAFE.zip": (
            (3, 31),
            59,
            "ASCENDING",
            7,
            20,
        ),
        "S1B_IW_GRDH_1SDV_20211223T051122_20211223T051147_030148_039993_5371.SAFE.zip": (
            (3, 40),
            22,
            "DESCENDING",
            9,
            21,
        ),
    }
    for name, facts in expected.items():
        with open_product(folder / name) as product:
            m = product.manifest()
            assert (m.ipf, m.relative_orbit, m.direction, m.slice_number, m.total_slices) == facts
            assert m.polarisations == ("VV", "VH")
    with open_product(folder / next(n for n in expected if "20210809" in n)) as product:
        empty = next(n for n in product.members() if n.startswith("measurement"))
        with pytest.raises(InputError, match=r"has 0 bytes, manifest\.safe says 872232364"):
            product.verify([empty], "size")
