"""The server of the viewer: what it answers, and what it refuses."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from pipelines.engine.tables import read_rows, to_table, write_table
from pipelines.media.tracks import read_frames, wav_part
from tests.helpers.blank_rows import blank_row
from tests.helpers.small_tracks import RATE_HZ, write_tracks
from tools.show.access import TOKEN_HEADER, Access
from tools.show.server import make_app
from wanstreamer.errors import InputError

ACCESS = Access(host="127.0.0.1", port=8765)
TOKEN = {TOKEN_HEADER: ACCESS.token}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Ask = Callable[..., Awaitable[Answer]]


def talk(data: Path, what: Callable[[Ask], Awaitable[None]], *, strict: bool = False) -> None:
    """Run `what` with a function that asks the server."""

    async def main() -> None:
        async with TestClient(TestServer(make_app(data, ACCESS, strict=strict))) as client:

            async def ask(path: str, headers: Mapping[str, str] = TOKEN, method: str = "GET", **more: Any) -> Answer:
                more.setdefault("allow_redirects", False)
                answer: ClientResponse = await client.request(method, path, headers=headers, **more)
                return Answer(answer.status, answer.headers, await answer.read())

            await what(ask)

    asyncio.run(main())


def get(data: Path, path: str, /, *, strict: bool = False, headers: Mapping[str, str] = TOKEN, **more: Any) -> Answer:
    answers: list[Answer] = []

    async def one(ask: Ask) -> None:
        answers.append(await ask(path, headers, **more))

    talk(data, one, strict=strict)
    return answers[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Session `one`: a agreed to be shown, b refused. `two`: nothing is known of both. `o'three`: both agreed."""
    data = tmp_path_factory.mktemp("show") / "data"
    write_tracks(data, {"one": ("train", "av", 25), "two": ("train", "av", 25), "o'three": ("test", "a", 25)})
    consent = {("one", "b"): ["train"], ("two", "a"): None, ("two", "b"): None}
    rows = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(data, "tracks")]
    for row in rows:
        key = (row["session_id"], row["participant"])
        if key in consent:
            row["consent"] = consent[key]
        if key == ("one", "a"):
            row["mixed"] = [{"start_ms": 1000, "end_ms": 1500}]
    write_table(data, "tracks", to_table("tracks", rows))
    words, events, ipus, units = [], [], [], []
    for session in ("one", "two", "o'three"):
        for who in ("a", "b"):
            ids = {"session_id": session, "participant": who}
            words.append(blank_row("words", **ids, start_ms=400, end_ms=700, word=f"word-of-{session}-{who}"))
            ipus.append(blank_row("ipus", **ids, start_ms=400, end_ms=900, text=f"text-of-{session}-{who}"))
            units += [blank_row("units", **ids, unit=unit, holds_floor=2 <= unit < 5) for unit in range(25)]
        ids = {"session_id": session, "participant": "a", "other": "b"}
        events += [
            blank_row("events", **ids, kind="transition", label="interruption", outcome="failed", start_ms=800,
                      end_ms=1000, confidence=0.9),
            blank_row("events", **ids, kind="backchannel", label="lexical", start_ms=2000, end_ms=2200, confidence=0.3),
        ]  # fmt: skip
    for table, own in (("words", words), ("events", events), ("ipus", ipus), ("units", units)):
        write_table(data, table, to_table(table, own))
    (data.parent / "secret.wav").write_bytes(b"secret")
    return data


def test_the_list_has_every_figure_that_it_offers(data: Path) -> None:
    offered = get(data, "/api/about").json()
    answer = get(data, "/api/sessions?sort=duration_s&desc=1&where=num_participants %3D 2").json()

    assert answer["total"] == 3
    assert {figure["name"] for figure in offered["figures"]} <= set(answer["rows"][0])
    assert [person["shown"] for row in answer["rows"] for person in row["participants"]] == [True] * 3 + [False] + [
        True
    ] * 2
    assert offered["banner"] is not None


def test_a_filter_may_use_the_views(data: Path) -> None:
    where = "session_id IN (SELECT session_id FROM events WHERE label = 'interruption') AND split = 'test'"
    answer = get(data, "/api/sessions", params={"where": where}).json()
    assert [row["session_id"] for row in answer["rows"]] == ["o'three"]


@pytest.mark.parametrize(
    "where",
    [
        "COPY session_list TO '/tmp/written.csv'",
        "session_id IN (SELECT * FROM read_csv('/etc/passwd'))",
        "session_id IN (FROM '/etc/passwd')",
        "session_id IN (FROM read_parquet('{data}/tables/words/*.parquet'))",
        "session_id IN (FROM read_text('{data}/../secret.wav'))",
        "ATTACH 'other.db'",
        "true); ATTACH 'other.db' --",
        "true) UNION SELECT word FROM words --",
        "true; COPY session_list TO 'written.csv'",
        "session_id = current_setting('threads')",
        "SET threads = 1",
        "INSTALL httpfs",
        "session_id IN (SELECT table_name FROM information_schema.tables)",
        "session_id IN (FROM glob('/*'))",
        "session_id IN (FROM hidden)",
        "x" * 5000,
        "(" * 2000,
        "nix > 3",
        "",
    ],
)
def test_a_filter_reads_nothing_but_the_views(data: Path, where: str) -> None:
    answer = get(data, "/api/sessions", params={"where": where.format(data=data) if "{data}" in where else where})
    if not where:
        assert answer.status == 200
        return
    assert answer.status == 400
    assert "filter" in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert b"root:" not in answer.body


def test_the_connection_itself_reads_no_other_file(data: Path) -> None:
    """Also what a later check of the syntax would let through."""
    from tools.show.catalog import Catalog, running

    with (
        pytest.raises(InputError, match="disabled by configuration"),
        running(Catalog(data, strict=False).snapshot().connection) as cursor,
    ):
        cursor.execute("FROM read_text('/etc/passwd')").fetchall()
    with (
        pytest.raises(InputError, match="locked"),
        running(Catalog(data, strict=False).snapshot().connection) as cursor,
    ):
        cursor.execute("SET enable_external_access = true")


def test_a_long_query_is_stopped(data: Path) -> None:
    from tools.show.catalog import Catalog, running

    connection = Catalog(data, strict=False).snapshot().connection
    with pytest.raises(InputError, match="stopped after"), running(connection, limit_s=0.1) as cursor:
        cursor.execute("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7").fetchall()


@pytest.mark.parametrize(
    "path",
    [
        "/page/..%2f..%2f..%2fpyproject.toml",
        "/page/%2fetc%2fpasswd",
        "/page/.hidden.js",
        "/page/index.html%00.js",
        "/media/video?session=..%2f..%2fsecret&participant=a",
        "/media/video?session=%2fetc%2fpasswd&participant=a",
        "/media/video?session=one&participant=..%2f..%2fa",
        "/media/video?session=one&participant=a&run=..%2f..%2f..",
        "/media/video?session=one&participant=a&run=runs%2f..",
        "/api/session?session=x' OR '1'='1",
        "/api/rows?session=%27%3B DROP TABLE people --&tables=words",
        "/media/frame?session=one&participant=a&frame=-1",
        "/media/frame?session=one&participant=a&frame=100000",
    ],
)
def test_nothing_but_the_data_folder_is_served(data: Path, path: str) -> None:
    answer = get(data, path)
    assert answer.status == 404
    assert answer.json()["error"]


def test_a_track_outside_the_data_folder_is_not_served(data: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "data"
    shutil.copytree(data, other)
    rows = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(other, "tracks")]
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (other / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    for row, path in zip(rows, ("../secret.mp4", str(tmp_path / "secret.mp4"), "link.mp4"), strict=False):
        row |= {"video_path": path, "consent": ["show"]}
    write_table(other, "tracks", to_table("tracks", rows))
    for row in rows[:3]:
        params = {"session": row["session_id"], "participant": row["participant"]}
        answer = get(other, "/media/video", params=params)
        assert answer.status == 400
        assert "outside the data folder" in answer.json()["error"]


def test_a_session_id_with_a_quote_is_a_session_like_others(data: Path) -> None:
    assert get(data, "/api/session", params={"session": "o'three"}).json()["duration_ms"] == 4000


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {TOKEN_HEADER: "wrong"},
        {TOKEN_HEADER: "ä".encode().decode("latin-1")},
        {"Cookie": "show_token_8765=wrong"},
        {"Cookie": f"show_token_8766={ACCESS.token}"},
        TOKEN | {"Origin": "http://evil.example"},
        TOKEN | {"Origin": "null"},
        TOKEN | {"Host": "evil.example"},
        TOKEN | {"Host": "127.0.0.1.evil.example:8765"},
        TOKEN | {"Host": "localhost.evil.example"},
        TOKEN | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        TOKEN | {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_only_the_own_page_with_the_token_may_ask(data: Path, headers: dict[str, str]) -> None:
    for path in ("/", "/page/index.html", "/api/about", "/media/video?session=one&participant=a"):
        answer = get(data, path, headers=headers)
        assert answer.status == 403
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert get(data, "/api/corrections", headers=headers, method="POST", json={"session": "one"}).status == 403


def test_a_page_from_elsewhere_may_not_write_with_the_cookie_alone(data: Path) -> None:
    cookie = {"Cookie": f"{ACCESS.cookie}={ACCESS.token}"}
    assert get(data, "/api/about", headers=cookie).status == 200
    assert get(data, "/api/corrections", headers=cookie, method="POST", json={}).status == 403


def test_the_address_sets_the_cookie_and_loses_the_token(data: Path) -> None:
    answer = get(data, f"/?token={ACCESS.token}", headers={})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert answer.headers["Set-Cookie"].startswith(f"{ACCESS.cookie}={ACCESS.token}")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=Strict" in answer.headers["Set-Cookie"]
    assert get(data, "/?token=wrong", headers={}).status == 403


def test_a_large_request_is_refused(data: Path) -> None:
    headers = TOKEN | {"Content-Type": "application/json"}
    answer = get(data, "/api/corrections", headers=headers, method="POST", data=b"[" * (100 << 20))
    assert answer.status == 413


def test_who_refused_is_not_shown_and_not_heard(data: Path) -> None:
    for path in (
        "/media/video?", "/media/samples?start_ms=0&end_ms=100&", "/media/peaks?bucket_ms=8&first=0&count=9&",
        "/media/frame?frame=0&", "/media/frame?frame=0&decoded=1&", "/media/unit.wav?unit=0&",
    ):  # fmt: skip
        answer = get(data, f"{path}session=one&participant=b")
        assert answer.status == 403
        assert "not agreed" in answer.json()["error"]
    described = get(data, "/api/session?session=one")
    rows = get(data, "/api/rows?session=one&tables=words,ipus,speech")
    assert b"one-b" not in described.body + rows.body
    assert rows.json()["withheld"] == ["b"]
    assert [row["word"] for row in rows.json()["words"]] == ["word-of-one-a"]
    where = "session_id IN (SELECT session_id FROM words WHERE word = 'word-of-one-b')"
    assert get(data, "/api/sessions", params={"where": where}).json()["total"] == 0


def test_sound_that_both_share_is_muted(data: Path) -> None:
    answer = get(data, "/media/samples?session=one&participant=a&start_ms=900&end_ms=1600")
    samples = np.frombuffer(answer.body, "<i2")
    row = next(row for row in read_rows(data, "tracks") if (row["session_id"], row["participant"]) == ("one", "a"))
    truth = wav_part(data / row["audio_path"], 900 * RATE_HZ // 1000, 700 * RATE_HZ // 1000)
    truth[100 * RATE_HZ // 1000 : 600 * RATE_HZ // 1000] = 0
    assert np.array_equal(samples, np.round(truth * 32768).astype(np.int16))
    peaks = np.frombuffer(
        get(data, "/media/peaks?session=one&participant=a&bucket_ms=8&first=100&count=100").body, np.int8
    )
    assert not peaks.reshape(-1, 2)[25:87].any()
    assert peaks.reshape(-1, 2)[:20].any()


def test_who_is_not_known_is_shown_on_this_machine_only(data: Path) -> None:
    assert get(data, "/media/video?session=two&participant=a").status == 200
    assert get(data, "/api/session?session=two").json()["banner"]
    assert get(data, "/media/video?session=two&participant=a", strict=True).status == 403
    strict = get(data, "/api/session?session=two", strict=True)
    assert strict.json()["banner"] is None
    assert not any(person["shown"] for person in strict.json()["participants"])
    assert get(data, "/api/rows?session=two&tables=words", strict=True).json()["words"] == []
    assert get(data, "/media/video?session=one&participant=a", strict=True).status == 200
    assert get(data, "/media/thumbnail?session=two").body != get(data, "/media/thumbnail?session=two", strict=True).body


def test_video_comes_in_ranges(data: Path) -> None:
    row = next(row for row in read_rows(data, "tracks") if row["session_id"] == "one")
    content = (data / row["video_path"]).read_bytes()
    url = "/media/video?session=one&participant=a"
    part = get(data, url, headers=TOKEN | {"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(content)}"
    assert get(data, url, headers=TOKEN | {"Range": f"bytes={len(content)}-"}).status == 416
    assert get(data, url).body == content


def test_frames_are_exact(data: Path) -> None:
    import io

    from PIL import Image

    row = next(row for row in read_rows(data, "tracks") if row["session_id"] == "one")
    truth = read_frames(data / row["video_path"])
    for index in (0, 1, 42, 99):
        picture = Image.open(io.BytesIO(get(data, f"/media/frame?session=one&participant=a&frame={index}").body))
        distances = [np.abs(np.asarray(picture).astype(float) - frame).mean() for frame in truth]
        assert all(distances[index] < distances[near] for near in (index - 1, index + 1) if 0 <= near < len(truth))


def test_the_waveform_is_that_of_the_samples_at_every_width(data: Path) -> None:
    row = next(row for row in read_rows(data, "tracks") if row["session_id"] == "o'three")
    samples = np.round(wav_part(data / row["audio_path"], 0, 1 << 20) * 32768).astype(int)

    async def ask_all(ask: Ask) -> None:
        for width in (1, 2, 4, 8, 64, 1024, 4096):
            count = 4000 // width + 3
            params = {"session": "o'three", "participant": "a", "bucket_ms": width, "first": 0, "count": count}
            answer = await ask("/media/peaks", params=params)
            pairs = np.frombuffer(answer.body, np.int8).reshape(-1, 2)
            step = width * RATE_HZ // 1000
            for bucket in range(count):
                own = samples[bucket * step : (bucket + 1) * step]
                expected = (own.min() >> 8, own.max() >> 8) if len(own) else (0, 0)
                lowest, highest = pairs[bucket]
                if bucket * step + step <= len(samples):
                    assert (lowest, highest) == expected
        for wrong in ({"bucket_ms": 3}, {"count": 5000}, {"first": -1}):
            assert (await ask("/media/peaks", params=params | wrong)).status == 400

    talk(data, ask_all)


def test_rows_are_those_of_the_time(data: Path) -> None:
    answer = get(data, "/api/rows?session=one&tables=words,events,floor,units,turns&start_ms=700&end_ms=1000").json()
    assert answer["words"] == []
    assert [row["label"] for row in answer["events"]] == ["interruption"]
    assert {row["unit"] for row in answer["units"]} == {4, 5, 6}
    assert answer["floor"][0] == {"participant": "a", "start_ms": 640, "end_ms": 800}
    assert answer["missing"] == ["turns"]
    assert get(data, "/api/rows?session=one&tables=hashes").status == 400


def test_the_next_event_is_found_in_both_directions(data: Path) -> None:
    def start_ms(query: str) -> int | None:
        event = get(data, f"/api/next?session=one&{query}").json()["event"]
        return event and event["start_ms"]

    assert start_ms("from_ms=0") == 800
    assert start_ms("from_ms=800") == 2000
    assert start_ms("from_ms=3000&direction=previous") == 2000
    assert start_ms("from_ms=3000&direction=previous&label=interruption&outcome=failed") == 800
    assert start_ms("from_ms=0&participant=b") is None


def test_find_me(data: Path) -> None:
    def places(find: str) -> list[tuple[str, int]]:
        return [(row["session_id"], row["start_ms"]) for row in get(data, f"/api/find?find={find}").json()["rows"]]

    assert places("failed_interruptions") == [("o'three", 800), ("one", 800), ("two", 800)]
    assert places("uncertain_backchannels") == [("o'three", 2000), ("one", 2000), ("two", 2000)]
    filtered = get(data, "/api/find", params={"find": "failed_interruptions", "where": "split = 'test'"}).json()
    assert filtered["total"] == 1
    assert "turns" in get(data, "/api/find?find=pauses_with_other").json()["error"]


def test_a_model_s_run_lies_on_the_session_s_timeline(data: Path) -> None:
    about = {"session_id": "one", "participant": "a", "label": "model", "duration_ms": 4000, "audio": "agent.wav",
             "speech": [[500, 900]], "words": [[500, 700, "yes"]]}  # fmt: skip
    for name, own in (("r1", about), ("r2", about | {"participant": "b"}), ("r3", {"session_id": 3})):
        (data / "runs" / name).mkdir(parents=True, exist_ok=True)
        (data / "runs" / name / "run.json").write_text(json.dumps(own))
    row = next(row for row in read_rows(data, "tracks") if row["session_id"] == "one")
    (data / "runs" / "r1" / "agent.wav").write_bytes((data / row["audio_path"]).read_bytes())

    assert [run["run"] for run in get(data, "/api/session?session=one").json()["runs"]] == ["runs/r1"]
    rows = get(data, "/api/run?session=one&run=runs/r1&start_ms=0&end_ms=600").json()
    assert rows["words"][0]["word"] == "yes"
    url = "/media/samples?session=one&participant=a&start_ms=0&end_ms=100&run=runs/"
    assert len(get(data, f"{url}r1").body) == 3200
    assert get(data, "/api/run?session=one&run=runs/r2").status == 403
    assert get(data, f"{url}r3").status in (400, 404)
    assert get(data, "/api/run?session=two&run=runs/r1").status == 404


def test_a_unit_says_what_is_missing(data: Path) -> None:
    answer = get(data, "/api/unit?session=one&participant=a&unit=3").json()
    assert answer["labels"]["holds_floor"]
    assert "latents" in answer["why"]
    assert answer["decoded"] == {"video": False, "audio": False, "why": "no latents yet: run the encode stage"}
    assert get(data, "/api/unit?session=one&participant=a&unit=25").status == 404


def test_a_folder_without_sessions_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the ingest stage first"):
        make_app(tmp_path, ACCESS, strict=False)


def test_a_damaged_table_is_one_line(data: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "data"
    shutil.copytree(data, other)
    (other / "tables" / "events" / "b=0000.parquet").write_bytes(b"PAR1 half written")
    answer = get(data, "/api/sessions")
    assert answer.status == 200
    with pytest.raises(InputError, match="damaged or being written"):
        make_app(other, ACCESS, strict=False)


def test_a_table_that_breaks_while_the_viewer_runs_is_one_line(data: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "data"
    shutil.copytree(data, other)

    async def ask_all(ask: Ask) -> None:
        (other / "tables" / "events" / "b=0000.parquet").write_bytes(b"PAR1 half written")
        for path in ("/api/rows?session=one&tables=events", "/api/find?find=failed_interruptions"):
            answer = await ask(path)
            assert answer.status == 400
            assert "\n" not in answer.json()["error"]
        assert (await ask("/api/sessions")).status == 200

    talk(other, ask_all)


def write_many(data: Path, num_sessions: int) -> None:
    """Tables of sessions without media: ten events each."""
    ids = [f"s{number:05d}" for number in range(num_sessions)]
    sessions = [
        blank_row("sessions", session_id=key, split="train", layout="audio_only", num_units=100, duration_ms=16000)
        for key in ids
    ]
    pairs = [{"session_id": key, "participant": who} for key in ids for who in "ab"]
    speech = [blank_row("speech", **pair, start_ms=0, end_ms=5000) for pair in pairs]
    turns = [blank_row("turns", **pair, start_ms=0, end_ms=5000, is_primary=True) for pair in pairs]
    events = [
        blank_row("events", session_id=key, participant="a", kind="transition", label="interruption",
                  outcome="failed" if (number + place) % 7 == 0 else "floor_taking", start_ms=place * 1000,
                  end_ms=place * 1000 + 300, confidence=0.1 * place)
        for number, key in enumerate(ids) for place in range(10)
    ]  # fmt: skip
    tracks = [blank_row("tracks", **pair, speaker_id=f"p{pair['session_id']}", num_units=100) for pair in pairs]
    for table, rows in (
        ("sessions", sessions), ("tracks", tracks), ("speech", speech), ("turns", turns), ("events", events),
    ):  # fmt: skip
        write_table(data, table, to_table(table, rows))


@pytest.mark.long
def test_ten_thousand_sessions_list_and_filter_in_a_second_in_flat_memory(tmp_path: Path) -> None:
    import time

    write_many(tmp_path, 10_000)

    async def ask_all(ask: Ask) -> None:
        filters = ["", "interruptions > 5", "session_id IN (SELECT session_id FROM events WHERE confidence > 0.85)"]
        for where in filters:
            began_s = time.monotonic()
            answer = await ask("/api/sessions", params={"where": where, "sort": "overlap_share", "limit": 100})
            assert answer.json()["total"] == 10_000
            assert len(answer.json()["rows"]) == 100
            assert time.monotonic() - began_s < 1
        memory = []
        for number in range(1000):
            where = filters[number % 3]
            assert (
                await ask("/api/sessions", params={"where": where, "offset": 10 * number, "limit": 50})
            ).status == 200
            if number % 100 == 99:
                memory.append(psutil.Process().memory_info().rss)
        assert max(memory[5:]) - memory[4] < 32 << 20

    talk(tmp_path, ask_all)
