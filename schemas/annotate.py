"""Tables of the annotate stage: who spoke when, in what turn, and what happened between the turns."""

import pyarrow as pa

from schemas.fields import (
    CONFIDENCE,
    END_MS,
    MS,
    PARTICIPANT,
    RULE_VERSION,
    SESSION,
    START_MS,
    TEXT,
    UNIT,
    Table,
    field,
)

SPEECH = Table(
    name="speech",
    stage="annotate",
    meaning="Voice activity of one participant, without what is known to be no speech.",
    key=("session_id", "participant", "start_ms"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("source", TEXT, "the detector: silero or pyannote"),
        CONFIDENCE,
    ),
)

WORDS = Table(
    name="words",
    stage="annotate",
    meaning="Timed words of one participant; tags of sounds are events.",
    key=("session_id", "participant", "start_ms", "index"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("index", pa.int32(), "position of the word in the participant's words"),
        field("word", TEXT, "as written, with its punctuation"),
        field("source", TEXT, "where the words came from: sidecar or whisperx"),
        CONFIDENCE,
    ),
)

IPUS = Table(
    name="ipus",
    stage="annotate",
    meaning="Inter-pausal units: speech with own silences of at most ipu_gap_ms joined.",
    key=("session_id", "participant", "start_ms"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("short", pa.bool_(), "under 100 ms"),
        field("text", TEXT, "its words; null without a transcript", nullable=True),
        field("candidate", TEXT, "backchannel candidate: lexical, acoustic or none"),
        RULE_VERSION,
    ),
)

TURNS = Table(
    name="turns",
    stage="annotate",
    meaning="IPUs joined over own pauses in which the other says nothing but backchannel candidates.",
    key=("session_id", "participant", "start_ms"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("is_primary", pa.bool_(), "false: wholly inside a turn of the other"),
        field("complete", pa.bool_(), "ends a phrase; null: no words to tell", nullable=True),
        field("num_ipus", pa.int32(), "IPUs joined"),
        field("num_words", pa.int32(), "words; null without a transcript", nullable=True),
        RULE_VERSION,
    ),
)

EVENTS = Table(
    name="events",
    stage="annotate",
    meaning="Backchannels, two-party states, floor transitions and non-speech.",
    key=("session_id", "participant", "kind", "start_ms", "end_ms", "label"),
    fields=(
        SESSION,
        PARTICIPANT,
        START_MS,
        END_MS,
        field("kind", TEXT, "backchannel (one row per IPU), state, transition (at a turn's onset) or non_speech"),
        field(
            "label",
            TEXT,
            "state: pause, gap, latch, overlap_within, overlap_between, boundary_ambiguous; "
            "transition: simultaneous_start, initiation, hold, smooth_shift, pause_interruption, terminal_overlap, "
            "interruption; backchannel: lexical or acoustic; "
            "non_speech: laughter, breath, vocal_noise (coughs, lip smacks, ...), noise, bleed (another's voice)",
        ),
        field(
            "outcome",
            TEXT,
            "of an interruption: floor_taking, failed, both_stop; "
            "of a simultaneous start: goes_on, gives_way, both_stop",
            nullable=True,
        ),
        field(
            "other",
            TEXT,
            "backchannel: who holds the floor; transition: whose turn it met or follows; "
            "state: who speaks after or along; bleed: whose voice",
            nullable=True,
        ),
        field("yield_ms", MS, "incumbent's offset minus challenger's onset", unit="ms", nullable=True),
        field("fto_ms", MS, "floor transfer offset; negative is overlap", unit="ms", nullable=True),
        field("source", TEXT, "what decided: words, timing or audio"),
        CONFIDENCE,
        RULE_VERSION,
    ),
)

UNITS = Table(
    name="units",
    stage="annotate",
    meaning="Labels of one participant in one 160 ms unit, shared by trainer and evaluator.",
    key=("session_id", "participant", "unit"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("unit", UNIT, "index on the session clock", unit="160 ms"),
        field(
            "speech_ms",
            pa.int16(),
            "own speech in the unit, 0 to 160; null: not attributable",
            unit="ms",
            nullable=True,
        ),
        field("holds_floor", pa.bool_(), "owns the floor at the unit's end"),
        field(
            "turn_begins_in",
            UNIT,
            "units until a primary turn of this participant next begins; 0: in this one; null: none to come",
            unit="160 ms",
            nullable=True,
        ),
        field(
            "turn_ends_in",
            UNIT,
            "units until a primary turn of this participant next ends; 0: in this one; null: none to come",
            unit="160 ms",
            nullable=True,
        ),
        field("interruption_role", TEXT, "challenger or incumbent while an interruption is open", nullable=True),
        field("backchannel", pa.bool_(), "a backchannel of this participant touches the unit"),
        field(
            "silence_ms",
            MS,
            "time since own speech last ended, at the unit's end; null before any",
            unit="ms",
            nullable=True,
        ),
        field("audio_mixed", pa.bool_(), "the track's audio holds several participants here"),
        field("non_speech", pa.bool_(), "laughter, breath or noise of this participant touches the unit"),
    ),
)
