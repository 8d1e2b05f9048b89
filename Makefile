# The one door: the same commands on a laptop and in CI. Every target makes its own environment when it is missing or stale.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STORE ?= runs/demo
# Tests use one thread each, and a third of their time waits for processes that they start: three keep two cores at work.
# A file is one process's, so that what its tests share is made once; what takes long begins first (tests/conftest.py).
# JOBS=0 runs in this process.
JOBS ?= 3
# Of the cluster's, those that start no Ray and no Prefect of several processes run side by side, too.
PAGES = tests/docs tests/browser tests/results tests/cluster/test_notebooks.py
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Types of arrays are checked call by call where units are tested; on real captures that would be a third of the time.
UNTYPED = --jaxtyping-packages=flows,beartype.beartype
export PYTHONDONTWRITEBYTECODE = 1

# Real networks; of these the learned lifter has seen MobileNet at two strides.
NETWORKS = $(foreach name,mobilenet_s4 mobilenet_s8 mobilenet_s16 alike r2d2 vgg_r31,\
		--plugin tests/real/plugins/feature_networks.py:$(name) --operator $(name)) \
	--plugin tests/real/plugins/style_transfer.py:faststyle_rain --operator faststyle_rain \
	--plugin tests/real/plugins/npz_segmentation.py:mosaic --operator mosaic

CAPTURES = $(LIFT3D_TEST_DATA)/captures
# A vision transformer as it is, and without its mean positional field.
VIT = timm:vit_small_patch14_dinov2?weights=random
FIELDS = --operator '$(VIT)' --operator '$(VIT)&positional_field=subtract'
# What is decoded: a picture repainted, and labels.
STYLE = --plugin tests/real/plugins/style_transfer.py:faststyle_rain --operator faststyle_rain
LABELS = --plugin tests/real/plugins/npz_segmentation.py:mosaic --operator mosaic
SEGMENTERS = $(foreach name,deeplabv3 mosaic,--plugin tests/real/plugins/npz_segmentation.py:$(name) --operator $(name))
# Small picture networks beside what needs none, on computed scenes that no training saw.
PICTURE_SCENES = 'procedural:room?seed=9000&views=24' 'procedural:tabletop?seed=9001&views=24'
PICTURES = $(foreach name,tiny:colorizer tiny:superresolution tiny:style grey bicubic,--operator $(name)) \
	$(foreach name,grey bicubic,--plugin tests/support/picture_baselines.py:$(name))
# What is measured of agreement: pictures, of which some mean to restore the photograph, labels, features.
REAL = --plugin tests/real/plugins
STYLES = $(foreach name,rain wave udnie,$(REAL)/style_transfer.py:faststyle_$(name) --operator faststyle_$(name))
RESTORED = --operator tiny:colorizer \
	$(foreach name,edsr_x2 vdsr zerodce zerodce_dark,$(REAL)/split_networks.py:$(name) --operator $(name))
OUTDOORS = $(foreach name,mobilenet_s8 alike dinov2_s14,$(REAL)/feature_networks.py:$(name) --operator $(name))
# Every page is of all that its store was asked for, so the last one has everything.
AGREEMENT = $(BIN)/lift3d bench consistency --out docs/results-consistency.md \
	--features vgg_r31 $(REAL)/feature_networks.py:vgg_r31
# What features know of 3D: of trained networks, of one that never was, and of a small one of ours.
PROBED = $(foreach name,dinov2_s14 alike mobilenet_s8,$(REAL)/feature_networks.py:$(name) --operator $(name)) \
	--operator '$(VIT)' --operator tiny:encoder
# An encoder before it is tuned, and on what: on computed scenes, and on captures that are not judged.
VITS14 = timm:vit_small_patch14_dinov2?weights
DINOV2 = $(VITS14)=$(LIFT3D_TEST_DATA)/models/dinov2_vits14/vit_small_patch14_dinov2_fp16.safetensors
TUNED = runs/finetune/dinov2
HELD_AGAINST = --operator '$(DINOV2)' $(foreach on,computed captures computed-no-contrast,--operator '$(VITS14)=$(TUNED)-$(on).safetensors')
# What the packaged weights of `lift3d` learned from, and networks that no training saw.
ENCODERS = --operator '$(DINOV2)&height=224' $(foreach name,mobilenet_s8 mobilenet_s16,\
		--plugin tests/real/plugins/feature_networks.py:$(name) --operator $(name))
UNSEEN = $(foreach name,alike r2d2 vgg_r31,$(REAL)/feature_networks.py:$(name) --operator $(name)) --operator tiny:encoder \
	$(STYLE) $(LABELS) $(foreach name,edsr_x2 zerodce,$(REAL)/split_networks.py:$(name) --operator $(name))
LEARNING = $(BIN)/lift3d bench learning --image-height 96
WITHHELD = $(addprefix $(CAPTURES)/,fox bear garden kitchen shelf) 'procedural:room?seed=9000&views=24' 'procedural:tabletop?seed=9001&views=24'

.PHONY: demo test test-real gpu-check test-cluster test-cluster-quick fault-matrix outside-faults fuzz kills check bench results checkpoint docs soak clean

demo: $(STAMP)  ## Lift the demo scenes in one process; then through Prefect and Ray, which find what is committed.
	$(BIN)/lift3d run --recipe flows/recipes/demo.yaml --store $(STORE)
	$(BIN)/lift3d run --recipe flows/recipes/demo.yaml --store $(STORE) --workers 2
	@command -v lift3d > /dev/null || echo 'first    source $(VENV)/bin/activate'

test: $(STAMP)  ## Units, properties, contracts, the serial line, one Prefect and one Ray run. No network.
	$(PYTEST) -m "not real and not cluster and not gpu and not slow" $(ARGS)

test-real: $(STAMP)  ## Real captures and networks, found through LIFT3D_TEST_DATA.
	$(PYTEST) $(UNTYPED) -m "real and not cluster and not slow" $(ARGS)

gpu-check: $(STAMP)  ## Where there is a CUDA device: networks and the whole line say there what they say on the host, and say it again.
	$(BIN)/python -m pytest -m gpu $(ARGS)

test-cluster: $(STAMP)  ## Prefect server and worker, several Ray nodes, a real S3 server, notebooks; all that is slow.
	$(BIN)/python -m pytest -m "cluster or slow" $(ARGS)

test-cluster-quick: $(STAMP)  ## The part of it that takes less than a minute a test.
	$(PYTEST) $(UNTYPED) -m "cluster and not slow" $(PAGES) $(ARGS)
	$(BIN)/python -m pytest $(UNTYPED) -m "cluster and not slow" $(addprefix --ignore=,$(PAGES)) $(ARGS)

fault-matrix: $(STAMP)  ## docs/fault-matrix.md from all tests that make something go wrong, those of the cluster too.
	$(BIN)/python -m pytest --fault-matrix=docs/fault-matrix.md -m fault $(ARGS)

outside-faults: $(STAMP)  ## docs/outside-cases.md from all tests of what people met elsewhere; some need LIFT3D_TEST_DATA.
	$(BIN)/python -m pytest --outside-cases=docs/outside-cases.md -m outside $(ARGS)

fuzz: $(STAMP)  ## docs/fuzzing.md: files, stores, recipes made up by the thousand give only errors of our own, soon, in little memory.
	$(BIN)/python -m tests.fuzz.run --cases 5000 --out docs/fuzzing.md $(ARGS)

kills: $(STAMP)  ## docs/kills.md: ten runs whose processes are killed at random moments equal an undisturbed one; half an hour.
	$(BIN)/python -m tests.soak.kills --out docs/kills.md $(ARGS)

docs: $(STAMP)  ## The documentation as a site that opens offline: build/site/index.html.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

soak: $(STAMP)  ## A thousand scenes with faults must equal those without, bit for bit; docs/soak.md. About half an hour.
	$(BIN)/python -m tests.soak.run --out docs/soak.md

check: $(STAMP)  ## Format, lint, types, layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Time and memory of lifting one target on this machine.
	$(BIN)/lift3d bench speed

results: $(STAMP)  ## The pages of results under docs/ from the captures and networks under LIFT3D_TEST_DATA; about an hour.
	$(BIN)/lift3d bench lifters $(addprefix $(CAPTURES)/,fox kitchen garden bear shelf) --out docs/results.md
	$(BIN)/lift3d bench lifters $(CAPTURES)/fox $(NETWORKS) $(FIELDS) \
		--out docs/results-operators.md
	$(AGREEMENT) $(CAPTURES)/kitchen $(STYLES) $(RESTORED) $(SEGMENTERS)
	$(AGREEMENT) $(CAPTURES)/kitchen $(STYLE) $(LABELS) --geometry sweep
	$(AGREEMENT) $(addprefix $(CAPTURES)/,bear garden fox) $(STYLE) $(OUTDOORS)
	$(AGREEMENT) $(addprefix $(CAPTURES)/,kitchen bear garden fox) $(STYLE) $(LABELS) --operator tiny:encoder --refine
	$(AGREEMENT) $(PICTURE_SCENES) $(PICTURES) --image-height 120 --holdout 4
	$(BIN)/lift3d bench recognition --out docs/results-recognition.md
	$(BIN)/lift3d bench probe3d $(addprefix $(CAPTURES)/,kitchen shelf) 'procedural:room?seed=9000&views=24' $(PROBED) --holdout 4
	$(BIN)/lift3d bench probe3d $(CAPTURES)/kitchen $(REAL)/feature_networks.py:dinov2_s14 --operator dinov2_s14 \
		--image-height 336 --out docs/results-probe3d.md
	$(BIN)/lift3d finetune '$(DINOV2)' --out $(TUNED)-computed.safetensors --folder runs/finetune/computed
	$(BIN)/lift3d finetune '$(DINOV2)' $(addprefix $(CAPTURES)/,bear fox garden) \
		--out $(TUNED)-captures.safetensors --folder runs/finetune/captures
	$(BIN)/lift3d finetune '$(DINOV2)' --contrast 0 --out $(TUNED)-computed-no-contrast.safetensors \
		--folder runs/finetune/no-contrast --store runs/finetune/computed/store
	$(BIN)/lift3d bench finetune $(CAPTURES)/shelf $(HELD_AGAINST) --holdout 2
	$(BIN)/lift3d bench finetune $(CAPTURES)/kitchen $(HELD_AGAINST) --holdout 4 \
		--picture 'procedural:tabletop?seed=9001&views=24&height=336&width=448' --out docs/results-finetune.md
	$(LEARNING) 'procedural:room?seed=10&views=24&spacing=2' 'procedural:shelf?seed=11&views=24&spacing=3' \
		'procedural:street?seed=12&views=24&spacing=2&depth=0' 'procedural:tabletop?seed=13&views=24&spacing=2' \
		'procedural:forest?seed=14&views=24&spacing=2' 'procedural:objects?seed=15&views=24&spacing=3&depth=0' $(ENCODERS) --fit
	$(LEARNING) $(WITHHELD) $(UNSEEN)
	$(LEARNING) $(WITHHELD) $(UNSEEN) --checkpoint dinov2 --out docs/results-learning.md
	$(BIN)/lift3d bench reliability $(addprefix $(CAPTURES)/,garden fox bear kitchen) 'procedural:room?seed=9000&views=48&depth=0' \
		--picture docs/pictures/passers-by.webp --out docs/results-reliability.md
	$(BIN)/lift3d bench ensemble $(CAPTURES)/kitchen $(LABELS) \
		--plugin tests/real/plugins/feature_networks.py:dinov2_s14 --operator dinov2_s14
	$(BIN)/lift3d bench ensemble $(foreach seed,9000 9001 9002 9003,'procedural:objects?seed=$(seed)&views=25') --operator tiny:clip \
		--image-height 120 --picture 'procedural:objects?seed=9001&views=25' --out docs/results-ensemble.md
	$(BIN)/lift3d bench systems queries
	$(BIN)/lift3d bench systems splats 'procedural:room?seed=9000&views=24' 'procedural:tabletop?seed=9001&views=24' \
		$(CAPTURES)/garden_splat
	$(BIN)/lift3d bench systems masks 'procedural:room?seed=9000&views=24' 'procedural:room?seed=9001&views=24' $(CAPTURES)/shelf \
		--plugin tests/real/plugins/feature_networks.py:dinov2_s14_448 --operator dinov2_s14_448
	$(BIN)/lift3d bench systems masks $(CAPTURES)/shelf --operator 'files:$(CAPTURES)/shelf/network_masks?pattern={view}.{name}.mask.png&names=creativity_chenille_stems,i_am_a_bunny_book,kleenex_tissue_box,laugh_out_loud_joke_book'
	$(BIN)/lift3d bench systems restoration $(foreach name,bear fox garden,$(CAPTURES)/$(name)) \
		'procedural:room?seed=9000&views=24&depth=0&height=144&width=192' --out docs/systems.md
	$(BIN)/lift3d bench calibration $(CAPTURES)/kitchen --operator rgb $(LABELS) \
		--plugin tests/real/plugins/feature_networks.py:mobilenet_s8 --operator mobilenet_s8 \
		--out docs/results-calibration.md

checkpoint: $(STAMP)  ## Train the packaged weights of `lift3d` anew, by the command on their card; half an hour.
	$(BIN)/lift3d train --out lift3d/lifters/checkpoints/dinov2.safetensors --folder runs/dinov2 --scenes 120 --validation-scenes 8 \
		--density-steps 450 --corrector-steps 250 $(ENCODERS)

clean:
	rm -rf runs .mypy_cache .ruff_cache

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lift3d needs Python 3.11 or later, got $$($(PYTHON) --version). Run: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo 'Making $(VENV), once: two or three minutes, longer where packages come from afar.'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m lift3d.torchvision_guard
	@touch $@
