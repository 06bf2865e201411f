// Video elements -> pictures in step with the clock of the sound: under a frame apart, for however long they play.
import { FRAME_MS } from "./format.js";

const SEEK_MS = 250; // farther apart than this: jump
const CLOSE_MS = 4; // nearer than this is left alone
const GENTLE = 0.08; // largest change of speed: no one sees it
const CORRECT_OVER_MS = 600; // a distance is made up within about this time

/**
 * @param elements [{participant, video}]
 * @param positionAt (performance time in ms) -> position of the session in ms, or null while nothing plays
 */
export function createVideos(elements, positionAt) {
  const states = elements.map(({ participant, video }) => ({ participant, video, apartMs: null, shownMs: null, seeks: 0 }));
  let rate = 1;
  let playing = false;

  for (const state of states) {
    state.video.muted = true;
    state.video.preload = "auto";
    watch(state);
  }

  function watch(state) {
    state.video.requestVideoFrameCallback((_, frame) => {
      state.shownMs = frame.mediaTime * 1000;
      const position = positionAt(frame.expectedDisplayTime);
      if (playing && position !== null) {
        // A frame stands for its whole 40 ms: the clock should be within it when it appears.
        state.apartMs = state.shownMs + FRAME_MS / 2 - position;
        correct(state, position);
      }
      watch(state);
    });
  }

  function correct(state, position) {
    const { video, apartMs } = state;
    if (video.seeking) return;
    if (Math.abs(apartMs) > SEEK_MS) {
      state.seeks += 1;
      video.currentTime = (position + FRAME_MS) / 1000; // a seek takes about a frame
      video.playbackRate = rate;
    } else if (Math.abs(apartMs) > CLOSE_MS) {
      video.playbackRate = rate * (1 - Math.min(GENTLE, Math.max(-GENTLE, apartMs / CORRECT_OVER_MS)));
    } else {
      video.playbackRate = rate;
    }
  }

  /** A video that shows no new frames (the tab was hidden, a seek failed) never calls back: check it now and then. */
  const guard = setInterval(() => {
    if (!playing) return;
    const position = positionAt(performance.now());
    if (position === null) return;
    for (const { video } of states) {
      if (video.ended || video.error || video.seeking || position / 1000 >= video.duration) continue;
      if (video.paused) video.play().catch(() => {});
      if (Math.abs(video.currentTime * 1000 - position) > 2 * SEEK_MS) video.currentTime = position / 1000;
    }
  }, 500);

  /** Shows the frames at `ms`, paused; resolves when all are there, or after a second. */
  async function seek(ms) {
    await Promise.all(states.map(({ video }) => new Promise((done) => {
      if (video.error) return done();
      video.addEventListener("seeked", done, { once: true });
      setTimeout(done, 1000);
      // The middle of the frame: its edge may fall into the frame before.
      const second = (Math.floor(ms / FRAME_MS) + 0.5) * FRAME_MS / 1000;
      video.currentTime = Number.isFinite(video.duration) ? Math.min(second, Math.max(0, video.duration - 0.001)) : second;
    })));
  }

  function start(newRate) {
    rate = newRate;
    playing = true;
    for (const { video } of states) {
      video.playbackRate = rate;
      video.play().catch(() => {});
    }
  }

  function stop() {
    playing = false;
    for (const { video } of states) video.pause();
  }

  function close() {
    stop();
    clearInterval(guard);
    for (const { video } of states) video.removeAttribute("src");
  }

  return { seek, start, stop, close, states };
}
