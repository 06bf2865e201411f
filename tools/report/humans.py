"""Published figures of human conversation, to be compared with those of a corpus.

Only figures that were checked in their sources are here. Definitions differ: authors differ in what is a turn, whether
backchannels count, and how short a silence may be. So a corpus may be far from a figure and still be right.
"""

from typing import NamedTuple


class Source(NamedTuple):
    cited: str
    address: str
    talk: str  # for what kind of talk its figures hold


SOURCES = {
    "stivers-2009": Source(
        "Stivers, T., Enfield, N. J., Brown, P., Englert, C., Hayashi, M., Heinemann, T., Hoymann, G., Rossano, F., "
        "de Ruiter, J. P., Yoon, K.-E., Levinson, S. C. (2009). Universals and cultural variation in turn-taking in "
        "conversation. PNAS 106(26), 10587-10592",
        "https://doi.org/10.1073/pnas.0903616106",
        "answers to yes-no questions in informal conversation; ten languages",
    ),
    "heldner-2010": Source(
        "Heldner, M., Edlund, J. (2010). Pauses, gaps and overlaps in conversations. Journal of Phonetics 38(4), "
        "555-568",
        "https://doi.org/10.1016/j.wocn.2010.08.002",
        "dialogues in Dutch, Scottish English and Swedish",
    ),
    "levinson-2015": Source(
        "Levinson, S. C., Torreira, F. (2015). Timing in turn-taking and its implications for processing models of "
        "language. Frontiers in Psychology 6, 731",
        "https://doi.org/10.3389/fpsyg.2015.00731",
        "348 telephone conversations in American English (Switchboard)",
    ),
    "reece-2023": Source(
        "Reece, A., et al. (2023). The CANDOR corpus: Insights from a large multimodal dataset of naturalistic "
        "conversation. Science Advances 9(13), eadf3197",
        "https://doi.org/10.1126/sciadv.adf3197",
        "1656 video calls between strangers in American English",
    ),
    "weingartova-2014": Source(
        "Weingartová, L., Churaňová, E., Šturm, P. (2014). Transitions, pauses and overlaps: Temporal characteristics "
        "of turn-taking in Czech. Speech Prosody 2014",
        "https://www.isca-archive.org/speechprosody_2014/weingartova14b_speechprosody.html",
        "four informal interviews in Czech",
    ),
    "ten-bosch-2004": Source(
        "ten Bosch, L., Oostdijk, N., de Ruiter, J. P. (2004). Durational aspects of turn-taking in spontaneous "
        "face-to-face and telephone dialogues. TSD 2004, LNCS 3206",
        "https://doi.org/10.1007/978-3-540-30120-2_71",
        "Dutch",
    ),
}


MEASURES = {  # columns of the query human_measures
    "median_fto_ms": "median floor transfer offset",
    "mean_fto_ms": "mean floor transfer offset",
    "under_500_ms_share": "share of transfers that begin within 500 ms, or in overlap",
    "overlapped_share": "share of transfers in overlap",
    "usual_overlap_ms": "most frequent length of an overlap at a change of speakers",
    "one_of_speaking_share": "share of speech in which only one person speaks",
    "median_gap_ms": "median gap",
    "median_overlap_ms": "median overlap",
    "backchannels_per_hour_of_speech": "backchannels in an hour of speech",
}


class Published(NamedTuple):
    measure: str
    value: str
    source: str


PUBLISHED = (
    Published("median_fto_ms", "80 ms", "reece-2023"),
    Published("median_fto_ms", "0 to 300 ms, by language", "stivers-2009"),
    Published("mean_fto_ms", "208 ms", "stivers-2009"),
    Published("under_500_ms_share", "70 to 82 %", "heldner-2010"),
    Published("overlapped_share", "30.1 %", "levinson-2015"),
    Published("usual_overlap_ms", "96 ms", "levinson-2015"),
    Published("one_of_speaking_share", "95.3 %", "levinson-2015"),
    Published("median_gap_ms", "about 360 ms", "weingartova-2014"),
    Published("median_overlap_ms", "about 360 ms", "weingartova-2014"),
    Published("backchannels_per_hour_of_speech", "about 1000 (words)", "reece-2023"),
)

NOTES = (
    "Pauses depend on the setting: in Dutch, pauses face to face were up to four times as long as in telephone calls "
    "(ten-bosch-2004).",
    "No figure is given for interruptions: what counts as one differs too much between authors.",
)
OFFSET_MARKS_MS = (("CANDOR median", 80), ("Stivers mean", 208))  # on the histogram of offsets
