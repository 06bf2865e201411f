// Play, pause, seek, speed and voices of one session: sound is the clock, videos follow.
import { createSound } from "./sound.js";
import { createVideos } from "./videos.js";

export const SPEEDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2];

/**
 * @param session answer of /api/session
 * @param voices [{key, participant, run, rateHz, pan}]
 * @param elements [{participant, video}]
 * @param onChange called when something that buttons show has changed
 */
export function createPlayer(session, voices, elements, onChange, onProblem) {
  const sound = createSound(session.session_id, voices, onProblem);
  let stillMs = 0; // the position while paused
  let playing = false;
  let speed = 1;
  let heard = null; // key of the only voice that is audible; null: all
  let loop = null; // {startMs, endMs}: played again and again
  let waiting = 0; // counts seeks, so that only the last one starts to play

  const positionAt = (timeMs) => {
    const at = sound.positionMs();
    return at === null ? null : at + (timeMs - performance.now()) * speed;
  };
  const videos = createVideos(elements, positionAt);

  const positionMs = () => Math.min(session.duration_ms, (playing && sound.positionMs()) || stillMs);

  async function play() {
    if (positionMs() >= session.duration_ms) stillMs = 0;
    playing = true;
    onChange();
    await begin(stillMs);
  }

  async function begin(ms) {
    const turn = ++waiting;
    stillMs = ms;
    sound.stop();
    videos.stop();
    await videos.seek(ms);
    if (turn !== waiting || !playing) return;
    await sound.start(ms, speed);
    if (turn === waiting && playing) videos.start(speed);
  }

  function pause() {
    stillMs = positionMs();
    playing = false;
    waiting += 1;
    sound.stop();
    videos.stop();
    videos.seek(stillMs);
    onChange();
  }

  function seek(ms) {
    const clipped = Math.min(Math.max(0, ms), session.duration_ms);
    stillMs = clipped;
    if (playing) begin(clipped);
    else videos.seek(clipped);
    onChange();
  }

  function setSpeed(next) {
    const at = positionMs();
    speed = next;
    if (playing) begin(at);
    onChange();
  }

  function hear(key) {
    heard = key;
    sound.setVolumes(new Map(voices.map((voice) => [voice.key, key === null || voice.key === key ? 1 : 0])));
    onChange();
  }

  function setLoop(span) {
    loop = span;
    onChange();
  }

  /** To be called for each picture of the screen while playing. */
  function tick() {
    if (!playing) return;
    const at = positionMs();
    if (loop && (at >= loop.endMs || at < loop.startMs - 100)) seek(loop.startMs);
    else if (at >= session.duration_ms) pause();
  }

  /** How far each picture is from the clock of the sound, in ms (positive: the picture is early). */
  const apart = () => ({
    positionMs: positionMs(),
    videos: videos.states.map(({ participant, apartMs, shownMs, seeks }) => ({ participant, apartMs, shownMs, seeks })),
  });

  function close() {
    playing = false;
    sound.close();
    videos.close();
  }

  return {
    play, pause, seek, setSpeed, hear, setLoop, tick, positionMs, apart, close, voices, graph: sound.graph,
    toggle: () => (playing ? pause() : play()),
    get playing() { return playing; },
    get speed() { return speed; },
    get heard() { return heard; },
    get loop() { return loop; },
  };
}
