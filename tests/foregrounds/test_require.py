import importlib

import pytest

from backmix.errors import BackmixError
from backmix.foregrounds import FOREGROUND_SOURCES, MissingLibraryError
from backmix.foregrounds.require import require


@pytest.fixture
def missing(monkeypatch):
    """Make some packages impossible to import."""

    def hide(*names):
        real = importlib.import_module

        def refuse(module, *rest):
            if module.partition(".")[0] in names:
                raise ModuleNotFoundError(f"No module named {module!r}")
            return real(module, *rest)

        monkeypatch.setattr(importlib, "import_module", refuse)

    return hide


@pytest.mark.parametrize(
    ("source", "package"), [("saliency", "skimage"), ("grabcut", "cv2"), ("grabcut", "skimage"), ("attention", "timm")]
)
def test_a_missing_package_is_named_with_what_to_install(source, package, missing):
    if (source, package) == ("grabcut", "skimage"):
        pytest.importorskip("cv2")
    missing(package)
    with pytest.raises(MissingLibraryError, match=rf'{package}.*pip install "backmix\[foregrounds\]"') as caught:
        FOREGROUND_SOURCES[source]()
    assert isinstance(caught.value, BackmixError | ImportError)


def test_grabcut_from_a_box_needs_no_scikit_image(missing):
    pytest.importorskip("cv2")
    missing("skimage")
    assert FOREGROUND_SOURCES["grabcut"](start="box").name == "grabcut"


def test_what_is_there_is_returned():
    assert require("json.decoder", "x").JSONDecoder


def test_every_source_goes_by_its_name():
    assert {name: source.name for name, source in FOREGROUND_SOURCES.items()} == {
        name: name for name in FOREGROUND_SOURCES
    }
