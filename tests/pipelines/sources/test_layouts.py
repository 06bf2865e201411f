"""Layouts of published corpora, by fixtures in their documented form: who is who, which file, which words."""

from pathlib import Path

import pytest

from pipelines.formats.word_files import BadWords, read_words
from pipelines.sources.find import find_sources
from pipelines.sources.layouts import LAYOUTS, recognise, rows_of_folder
from tests.helpers.corpora import MAKERS, ami, candor, seamless, touch
from wanstreamer.errors import InputError


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
    mixed = rows_of_folder(tmp_path)  # without the layout: who is in them is not known
    assert [row.unusable[0] for row in mixed if row.unusable] == ["no_participants"] * 2
    assert all(row.unusable and "ingest.layout=stereo" in row.unusable[1] for row in mixed)


def test_sidecars_without_a_recording_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "one/a.mp4", "one/a.words.json", "one/B.words.json", "one/b.mp4", "notes.txt")
    find_sources(tmp_path)
    assert "word or RTTM file without a recording: one/B.words.json; expected next" in capsys.readouterr().err
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


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"{", b"[]", b"null", b"\xff\xfe", b'{"speakers": [null]}'])
def test_metadata_with_a_mark_is_read_and_damaged_metadata_costs_its_session(tmp_path: Path, content: bytes) -> None:
    candor(tmp_path)
    path = tmp_path / "0a1b-conversation/metadata.json"
    path.write_bytes(content + path.read_bytes() if content == b"\xef\xbb\xbf" else content)
    if content == b"\xef\xbb\xbf":
        assert [row.speaker_id for row in rows_of_folder(tmp_path)] == ["user-left", "user-right"]
        return
    with pytest.raises(InputError, match="metadata.json: .*expected speakers with user_id and channel"):
        rows_of_folder(tmp_path)


def test_a_person_without_an_id_is_no_person_called_none(tmp_path: Path) -> None:
    candor(tmp_path)
    path = tmp_path / "0a1b-conversation/metadata.json"
    path.write_text('{"speakers": [{"user_id": null, "channel": "L"}, {"user_id": " user-right", "channel": "R"}]}')
    assert [row.speaker_id for row in rows_of_folder(tmp_path)] == [None, "user-right"]


def test_a_speaker_who_is_not_known_is_no_participant(tmp_path: Path) -> None:
    touch(tmp_path, "call.wav")
    lines = [f"SPEAKER call 1 {at} 0.5 <NA> <NA> {name} <NA> <NA>\n" for at, name in enumerate(("<NA>", "anna", "ben"))]
    (tmp_path / "call.rttm").write_text("".join(lines))
    assert [row.rttm_speaker for row in rows_of_folder(tmp_path)] == ["anna", "ben"]
