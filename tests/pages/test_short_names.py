"""Names of images without what stands before their data."""

from backmix.pages.short_names import roots, short_name


def test_the_folders_above_the_data_are_left_out(tmp_path):
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    found = roots([str(tmp_path / "photos"), str(tmp_path / "photos" / "inner"), None, "digits", "owner/name"])
    assert found[0] == str(tmp_path / "photos") and str(tmp_path) in found
    assert short_name(f"{tmp_path}/photos/cat/1.jpg", found) == "cat/1.jpg"
    assert short_name(f"{tmp_path}/other/cat/1.jpg", found) == "other/cat/1.jpg"
    assert short_name(f"{tmp_path}/photos.parquet:test[3] (a.jpg)", found) == "photos.parquet:test[3] (a.jpg)"
    assert short_name("digits:test[3]", found) == "digits:test[3]"
    assert "/" not in roots(["/"]) and "." not in roots(["digits"])
