"""Layouts of published corpora, by fixtures in their documented form: who is who, which file, which words."""

import json
from pathlib import Path

import pytest

from pipelines.layouts import LAYOUTS, recognise, rows_of_folder
from pipelines.sources import find_sources
from pipelines.word_files import BadWords, read_words
from wanstreamer.errors import InputError

NITE = 'xmlns:nite="http://nite.sourceforge.net/"'


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def seamless(root: Path) -> None:
    for name in ("V00_S0809_I00000582_P0947", "V00_S0809_I00000582_P0948", "V01_S0001_I00000001_P0947"):
        home = f"improvised/train/0000/0005/{name}"
        touch(root, f"{home}.mp4", f"{home}.wav", f"{home}.npz")
        segment = {"start": 0.5, "end": 1.1, "transcript": "oh yes",
                   "words": [{"word": " oh", "start": 0.5, "end": 0.7, "score": 0.9},
                             {"word": " yes", "start": 0.72, "end": 1.1, "score": 0.8},
                             {"word": " 12"}]}  # fmt: skip
        write_json(root / f"{home}.json", {"id": name, "metadata:vad": [], "metadata:transcript": [segment]})


def candor(root: Path) -> None:
    home = root / "0a1b-conversation"
    touch(home, "processed/0a1b-conversation.mp3", "raw/user-left.mp4", "raw/user-right.mp4", "survey.csv")
    speakers = [{"user_id": "user-right", "channel": "R"}, {"user_id": "user-left", "channel": "L"}]
    write_json(home / "metadata.json", {"speakers": speakers})

    def item(text: str, start: str | None = None) -> dict[str, object]:
        times = {"start_time": start, "end_time": f"{float(start) + 0.2:.2f}"} if start else {}
        kind = "pronunciation" if start else "punctuation"
        return {**times, "type": kind, "alternatives": [{"confidence": "0.9", "content": text}]}

    channels = [
        {"channel_label": "ch_0", "items": [item("Hello", "1.5"), item("."), item("Bye", "2.0")]},
        {"channel_label": "ch_1", "items": [item("Right", "1.9"), item("?")]},
    ]
    write_json(home / "transcription/transcribe_output.json", {"results": {"channel_labels": {"channels": channels}}})


def ami(root: Path) -> None:
    people = (("A", 1, "Closeup2", "MEE009"), ("B", 0, "Closeup1", "FEE005"), ("C", 2, "Closeup4", "MEE010"))
    speakers = "".join(
        f'<speaker nxt_agent="{agent}" channel="{channel}" camera="{camera}" global_name="{who}" role="PM"/>'
        for agent, channel, camera, who in people
    )
    resources = root / "annotations/corpusResources"
    resources.mkdir(parents=True)
    (resources / "meetings.xml").write_text(
        f'<nite:root {NITE}><meeting observation="ES2002a">{speakers}</meeting>'
        f'<meeting observation="ES2002b">{speakers}</meeting></nite:root>'
    )
    touch(root, *(f"ES2002a/audio/ES2002a.Headset-{channel}.wav" for _, channel, _, _ in people))
    touch(root, *(f"ES2002a/video/ES2002a.{camera}.avi" for _, _, camera, _ in people[:2]))
    (root / "annotations/words").mkdir()
    (root / "annotations/words/ES2002a.A.words.xml").write_text(
        f"""<?xml version="1.0" encoding="ISO-8859-1"?>
        <nite:root nite:id="ES2002a.A.words" {NITE}>
        <w nite:id="w0" starttime="77.44" endtime="77.74">Hi</w>
        <w nite:id="w1" starttime="77.74" endtime="77.74" punc="true">,</w>
        <vocalsound nite:id="w2" starttime="78.0" endtime="79.0" type="laugh"/>
        <w nite:id="w3" starttime="80.5" endtime="80.9">I&apos;m</w><w nite:id="w4">lost</w></nite:root>"""
    )


MAKERS = {"seamless": seamless, "candor": candor, "ami": ami}


@pytest.mark.parametrize("name", MAKERS)
def test_a_corpus_is_recognised_and_every_path_is_there(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path)
    assert recognise(tmp_path) == name
    root, rows = find_sources(tmp_path)
    assert rows == sorted(rows_of_folder(tmp_path, name), key=lambda row: (row.session_id, row.participant))
    for row in rows:
        for uri in (row.uri, row.audio_uri, row.words_uri):
            assert uri is None or (root / uri).is_file()
        assert row.speaker_id and row.language == "en"


def test_seamless_interactions_are_sessions_and_people_stay_themselves(tmp_path: Path) -> None:
    seamless(tmp_path)
    rows = rows_of_folder(tmp_path)
    assert [(row.session_id, row.participant, row.speaker_id) for row in rows] == [
        ("V00_S0809_I00000582", "P0947", "V00_P0947"),
        ("V00_S0809_I00000582", "P0948", "V00_P0948"),
        ("V01_S0001_I00000001", "P0947", "V01_P0947"),  # another vendor's participant is another person
    ]
    assert rows[0].uri.endswith(".mp4") and rows[0].audio_uri is not None and rows[0].audio_uri.endswith(".wav")
    words, untimed = read_words(tmp_path / str(rows[0].words_uri))
    assert words == [{"word": "oh", "start_ms": 500, "end_ms": 700}, {"word": "yes", "start_ms": 720, "end_ms": 1100}]
    assert untimed == 1


def test_candor_parties_have_their_channel_their_camera_and_their_words(tmp_path: Path) -> None:
    candor(tmp_path)
    left, right = rows_of_folder(tmp_path)
    assert (left.speaker_id, left.channel, Path(left.uri).name) == ("user-left", 0, "user-left.mp4")
    assert (right.speaker_id, right.channel, Path(right.uri).name) == ("user-right", 1, "user-right.mp4")
    assert left.audio_uri == right.audio_uri == "0a1b-conversation/processed/0a1b-conversation.mp3"
    said = [read_words(tmp_path / str(row.words_uri), row.channel)[0] for row in (left, right)]
    assert [[word["word"] for word in words] for words in said] == [["Hello.", "Bye"], ["Right?"]]
    assert said[0][0]["start_ms"] == 1500 and said[0][0]["end_ms"] == 1700


def test_ami_people_have_their_headset_and_close_up(tmp_path: Path) -> None:
    ami(tmp_path)
    rows = {row.participant: row for row in rows_of_folder(tmp_path)}
    assert sorted(rows) == ["A", "B", "C"] and {row.session_id for row in rows.values()} == {"ES2002a"}
    assert rows["A"].speaker_id == "MEE009" and rows["A"].uri == "ES2002a/video/ES2002a.Closeup2.avi"
    assert rows["A"].audio_uri == "ES2002a/audio/ES2002a.Headset-1.wav"
    assert rows["C"].uri == "ES2002a/audio/ES2002a.Headset-2.wav" and rows["C"].audio_uri is None
    words, untimed = read_words(tmp_path / str(rows["A"].words_uri))
    assert [word["word"] for word in words] == ["Hi,", "[laughter]", "I'm"] and untimed == 1
    assert (words[1]["start_ms"], words[1]["end_ms"]) == (78_000, 79_000)


def test_stereo_calls_have_a_party_per_channel(tmp_path: Path) -> None:
    touch(tmp_path, "call-1.wav", "call-1.b.words.json", "call-2.flac", "notes.txt")
    rows = rows_of_folder(tmp_path, "stereo")
    assert [(row.session_id, row.participant, row.channel) for row in rows] == [
        ("call-1", "a", 0), ("call-1", "b", 1), ("call-2", "a", 0), ("call-2", "b", 1),
    ]  # fmt: skip
    assert [row.words_uri for row in rows] == [None, "call-1.b.words.json", None, None]
    with pytest.raises(InputError, match=r"ingest\.layout=stereo"):
        rows_of_folder(tmp_path)


def test_sidecars_without_a_recording_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "one/a.mp4", "one/a.words.json", "one/B.words.json", "one/b.mp4", "notes.txt")
    find_sources(tmp_path)
    assert "words or RTTM without a recording: one/B.words.json; they lie" in capsys.readouterr().err
    (tmp_path / "one/B.words.json").rename(tmp_path / "one/b.words.json")
    find_sources(tmp_path)
    assert not capsys.readouterr().err


def test_a_corpus_there_in_part_names_what_is_missing(tmp_path: Path) -> None:
    candor(tmp_path)
    for path in (tmp_path / "0a1b-conversation/processed").iterdir():
        path.unlink()
    (tmp_path / "0a1b-conversation/raw/user-left.mp4").unlink()
    left, right = rows_of_folder(tmp_path)
    assert left.uri == "0a1b-conversation/processed/user-left.mp4" and not (tmp_path / left.uri).exists()
    assert (tmp_path / right.uri).is_file()


def test_headsets_not_downloaded_are_named(tmp_path: Path) -> None:
    ami(tmp_path)
    (tmp_path / "ES2002a/audio/ES2002a.Headset-2.wav").unlink()
    assert {row.uri for row in rows_of_folder(tmp_path) if not (tmp_path / row.uri).is_file()} == {
        "ES2002a/audio/ES2002a.Headset-2.wav"
    }


def test_an_unknown_layout_and_a_corpus_without_its_index_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"unknown; expected one of {', '.join(LAYOUTS)}"):
        rows_of_folder(tmp_path, "colour")
    with pytest.raises(InputError, match="no meetings.xml"):
        rows_of_folder(tmp_path, "ami")


@pytest.mark.parametrize("content", ["[]", "{}", '{"words": [{"word": "a"}]}', "not json", '{"results": {}}', "3"])
def test_other_files_are_not_words(tmp_path: Path, content: str) -> None:
    for name in ("words.json", "x.words.xml"):
        (tmp_path / name).write_text(content)
        with pytest.raises(BadWords):
            read_words(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_words(tmp_path / "nowhere.json")
