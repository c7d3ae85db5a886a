# Names, order, help. Every stage is one ./s2cr call; Python decides what is fresh. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CONF ?= confs/demo.yaml
ARGS ?=
PART ?=
ALLOW ?=
NAMES ?=
MODEL ?= GAN_confs/model.yaml
TRAIN ?= GAN_confs/train.yaml
STAGES ?=
HPC ?=
DRY_RUN ?=
export S2CR_GOALS := $(MAKECMDGOALS)
export S2CR_ALLOW := $(ALLOW)
s2cr = ./s2cr
part = $(if $(PART),--part $(PART))
submit_options = $(if $(HPC),--hpc $(HPC)) $(if $(DRY_RUN),--dry-run) $(ARGS)

.PHONY: help env demo test test-faults lint types docs docs-check bench results clean-demo plan submit doctor area \
  make_scene find_images search download fetch_orbits fetch_dem preprocess preprocess_s1 preprocess_s2 import_data import multitemporal tile tile_check build_dataset split normalise \
  train predict mosaic mosaic_truth indices burned landclass change evaluate compare report dataset all \
  find_image download_image download_images_from_s2name convert_sent1 convert_sent2 tiling test_tiling split_dataset train_model \
  mosaic_predictions mosaic_gt download_to_split geojson_2_wkt s2_minmax get_s2_minmax compare_engines

ifdef SUBMIT # make train predict SUBMIT=1 is make submit STAGES="train predict"
.PHONY: $(MAKECMDGOALS)
$(firstword $(MAKECMDGOALS)):
	@bash_scripts/env.sh
	@$(s2cr) submit $(submit_options) $(CONF) $(MAKECMDGOALS)
$(wordlist 2,99,$(MAKECMDGOALS)): ; @:
else

## First contact
help: ## this list
	@awk -f bash_scripts/help.awk Makefile

env: ## set up the environment in .venv (ends at once when it is current)
	@bash_scripts/env.sh

demo: env ## a generated scene with fire and clouds through every stage: minutes, offline, no account, no SNAP, no GPU
	@$(s2cr) plan confs/demo.yaml --check 2>/dev/null || $(MAKE) --no-print-directory all CONF=confs/demo.yaml ALLOW=all
	@$(s2cr) scores confs/demo.yaml

test: env ## set up, then unit, golden and pipeline tests (ARGS= goes to pytest)
	@$(s2cr) doctor --env >/dev/null
	@unset S2CR_GOALS S2CR_ALLOW MAKEFLAGS MAKELEVEL MAKEOVERRIDES MFLAGS ARGS CONF PART ALLOW MODEL TRAIN NAMES STAGES HPC DRY_RUN SUBMIT; PYTHONPATH=$(CURDIR) $${S2CR_ENV:-.venv}/bin/python -m pytest -m "not online and not gpu and not snap and not slow and not slurm" $(if $(filter -s --pdb,$(ARGS)),,-n logical --maxprocesses 2 --dist loadfile) $(ARGS)

test-faults: env ## downloads against 2,000 faults of a misbehaving server, in figures (a minute)
	@PYTHONPATH=$(CURDIR) $${S2CR_ENV:-.venv}/bin/python -m tests.fakes.campaign --faults 2000

doctor: env ## what this machine has and lacks, with remedies
	@$(s2cr) doctor

plan: env ## which stages would run for CONF, and why
	@$(s2cr) plan $(CONF)

submit: env ## STAGES="preprocess_s1 tile train" as batch jobs on Slurm or PBS (HPC=confs/hpc/slurm.yaml, DRY_RUN=1)
	@$(s2cr) submit $(submit_options) $(CONF) $(STAGES)

## Chains (CONF=confs/yours.yaml)
all: compare landclass change report ## every stage up to the report
dataset: split ## everything from the search to the split
import: import_data ## bring your own rasters into the layout

## Stages, each after those it needs
make_scene: env ## generate products of a synthetic scene (demo and tests)
	@$(s2cr) make_scene $(CONF) $(ARGS)
area: env ## the area and, after a search, its footprints: map, page, GeoJSON, WKT
	@$(s2cr) area $(CONF) $(ARGS)
s2_minmax: env ## yearly range of Sentinel-2 bands and indices over the area, from Earth Engine
	@$(s2cr) s2_minmax $(CONF) $(ARGS)
find_images: make_scene ## find clear Sentinel-2 pairs and the closest Sentinel-1 passes
	@$(s2cr) find_images $(CONF)
search: find_images ## same as find_images
download: find_images ## fetch and verify the products
	@$(s2cr) download $(CONF)
fetch_orbits: find_images ## precise orbits again, for a pair that had none
	@$(s2cr) fetch_orbits $(CONF) $(ARGS)
fetch_dem: find_images ## height tiles of the area again
	@$(s2cr) fetch_dem $(CONF) $(ARGS)
preprocess_s1: download ## Sentinel-1 to terrain-flattened gamma0 (PART=i/N)
	@$(s2cr) preprocess_s1 $(CONF) $(part)
preprocess_s2: download ## Sentinel-2 to reflectance and clear mask (PART=i/N)
	@$(s2cr) preprocess_s2 $(CONF) $(part)
preprocess: preprocess_s1 preprocess_s2 ## both
import_data: make_scene ## analysis-ready rasters instead of search and preprocessing
	@$(s2cr) import_data $(CONF)
multitemporal: preprocess_s1 import_data ## speckle filter over the dates of a track, where enabled (PART=i/N)
	@$(s2cr) multitemporal $(CONF) $(part)
tile: preprocess import_data multitemporal ## cut rasters into tiles (PART=i/N)
	@$(s2cr) tile $(CONF) $(part)
tile_check: preprocess import_data multitemporal ## first tiles to a scratch folder, to look at
	@$(s2cr) tile_check $(CONF)
build_dataset: tile ## pair tiles into samples (PART=i/N)
	@$(s2cr) build_dataset $(CONF) $(part)
split: build_dataset ## train, validation and test sets by place
	@$(s2cr) split $(CONF)
normalise: split ## fit the scalers on the train set
	@$(s2cr) normalise $(CONF)
train: normalise ## train the models of CONF
	@$(s2cr) train $(CONF)
predict: train ## predict tiles (PART=i/N)
	@$(s2cr) predict $(CONF) $(part)
mosaic: predict ## one image a run and pair, its composite, sigma, abstain, STAC item, styles
	@$(s2cr) mosaic $(CONF)
mosaic_truth: split ## the same for the observed t1
	@$(s2cr) mosaic_truth $(CONF)
indices: mosaic mosaic_truth ## vegetation and burn index maps
	@$(s2cr) indices $(CONF)
burned: indices ## burned area and severity maps, hectares with intervals
	@$(s2cr) burned $(CONF)
landclass: burned ## land classes, and where severity goes wrong: by class, slope, aspect
	@$(s2cr) landclass $(CONF) $(ARGS)
change: mosaic mosaic_truth ## change maps without labels: PCA with k-means, VH with Otsu's threshold
	@$(s2cr) change $(CONF) $(ARGS)
evaluate: predict ## scores beside the baselines
	@$(s2cr) evaluate $(CONF)
compare: mosaic mosaic_truth ## pictures side by side
	@$(s2cr) compare $(CONF)
compare_engines: env ## native rasters against those of SNAP, where SNAP made them (ARGS="--product ID --snap DIR")
	@$(s2cr) compare_engines $(CONF) $(ARGS)
report: burned evaluate compare ## one page with maps, scores and provenance
	@$(s2cr) report $(CONF)

## For developers
lint: env ## ruff
	@$${S2CR_ENV:-.venv}/bin/ruff check . && $${S2CR_ENV:-.venv}/bin/ruff format --check .
types: env ## mypy, strict
	@$${S2CR_ENV:-.venv}/bin/python -m mypy utils models scripts bench
docs: env ## write the generated pages
	@$(s2cr) docs
docs-check: env ## fail when a generated page is not current
	@$(s2cr) docs --check
bench: env ## the quick benchmarks, one line a figure; bench-NAME runs one (ARGS=--help)
	@PYTHONPATH=$(CURDIR) $${S2CR_ENV:-.venv}/bin/python -m bench
bench-%: env
	@PYTHONPATH=$(CURDIR) $${S2CR_ENV:-.venv}/bin/python -m bench $* $(ARGS)
results: env ## the chain on the real sample sets (needs S2CR_DATA)
	@bash_scripts/results.sh $(ARGS)
clean-demo: ## delete the demo's work directory
	rm -rf work/demo

# Published names: they run the same stage and say the new name once.
find_image: ; @echo "find_image is now find_images" >&2; $(MAKE) --no-print-directory find_images
download_image: ; @echo "$@ is now download" >&2; $(MAKE) --no-print-directory download
# NAMES="S2..._t0 S2..._t1" fixes the Sentinel-2 products, three names make two pairs; without NAMES it is download
download_images_from_s2name: $(if $(NAMES),make_scene)
ifdef NAMES
	@$(s2cr) from_names $(CONF) $(foreach name,$(NAMES),'$(name)') $(ARGS)
else
	@echo '$@ is now download; NAMES="t0 t1" fixes the Sentinel-2 products' >&2; $(MAKE) --no-print-directory download
endif
convert_sent1: ; @echo "convert_sent1 is now preprocess_s1" >&2; $(MAKE) --no-print-directory preprocess_s1
convert_sent2: ; @echo "convert_sent2 is now preprocess_s2" >&2; $(MAKE) --no-print-directory preprocess_s2
tiling: ; @echo "tiling is now tile and build_dataset" >&2; $(MAKE) --no-print-directory build_dataset
test_tiling: ; @echo "test_tiling is now tile_check" >&2; $(MAKE) --no-print-directory tile_check
split_dataset: ; @echo "split_dataset is now split" >&2; $(MAKE) --no-print-directory split
train_model: env ; @echo "train_model is now train, or gan_train.sh MODEL TRAIN" >&2; ./gan_train.sh $(MODEL) $(TRAIN)
mosaic_predictions: ; @echo "mosaic_predictions is now mosaic" >&2; $(MAKE) --no-print-directory mosaic
mosaic_gt: ; @echo "mosaic_gt is now mosaic_truth" >&2; $(MAKE) --no-print-directory mosaic_truth
download_to_split: ; @echo "download_to_split is now dataset" >&2; $(MAKE) --no-print-directory dataset
geojson_2_wkt: ; @echo "geojson_2_wkt is now area" >&2; $(MAKE) --no-print-directory area
get_s2_minmax: ; @echo "get_s2_minmax is now s2_minmax" >&2; $(MAKE) --no-print-directory s2_minmax
endif
