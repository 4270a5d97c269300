import json

from socs.sim.pysmurf_truth import Truth, TruthFile, read_truth


def test_lists_grow_and_nothing_stays_in_memory(tmp_path):
    path, truth = tmp_path / "truth.json", Truth()
    with TruthFile(path, truth, {"id": "crate1"}) as record:
        assert read_truth(path) == Truth()  # there from the start
        for number in range(3):
            truth.sent["data_file"] += 1
            truth.record_file(f"/data/a b{number}", f"{number:032x}", announced=True)
            truth.record_file(f"/data/c{number}", "f" * 32, announced=number != 1)
            record.save()
            assert (truth.announced, truth.unannounced) == ({}, {})
        truth.dropped["data_file"] += 1
        truth.finished = True
    content = json.loads(path.read_text())
    assert content["id"] == "crate1"
    assert content["files"] == {"announced": 5, "unannounced": 1}
    assert content["messages"] == 4
    lines = (tmp_path / "truth.json.md5").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0] == f"{0:032x}  /data/a b0"  # as md5sum writes it
    found = read_truth(path)
    assert found.announced["/data/a b2"] == f"{2:032x}"
    assert found.unannounced == {"/data/c1": "f" * 32}
    assert found.finished
    assert (found.sent, found.dropped) == ({"data_file": 3}, {"data_file": 1})


def test_a_reader_in_between_sees_something_whole(tmp_path):
    """The lists are written before the counts, so they may be ahead."""
    path, truth = tmp_path / "truth.json", Truth()
    with TruthFile(path, truth, {}) as record:
        truth.record_file("/a", "0" * 32, announced=True)
        record.save()
        with (tmp_path / "truth.json.md5").open("a") as ahead:
            ahead.write("1" * 32 + "  /b\n" + "2" * 10)
        assert read_truth(path).announced == {"/a": "0" * 32}
