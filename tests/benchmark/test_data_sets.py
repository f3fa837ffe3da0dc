import pytest

from backmix.benchmark.data_sets import DATA


@pytest.mark.parametrize("name", DATA)
def test_numbers_of_images_agree_with_those_per_class(name):
    data = DATA[name]
    assert data.folders[0] == name and len(set(data.classes)) == len(data.classes)
    for split in data.splits.values():
        if isinstance(split.per_class, int):
            assert split.images == split.per_class * len(data.classes)
        elif isinstance(split.per_class, tuple):
            assert len(split.per_class) == len(data.classes) and sum(split.per_class) == split.images
        else:
            least, most = split.per_class.start, split.per_class.stop - 1
            assert least * len(data.classes) <= split.images <= most * len(data.classes)
        assert sum(data.splits[part].images for part in split.parts) in (0, split.images)


def test_no_two_data_sets_share_a_folder():
    folders = [folder for data in DATA.values() for folder in data.folders]
    assert len(folders) == len(set(folders))
