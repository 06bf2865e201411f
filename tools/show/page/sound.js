// Pieces of each participant's voice -> one AudioContext. Its clock is the clock of everything that plays: all voices
// are scheduled on it sample by sample, so they cannot drift apart, and the videos follow it (videos.js).
import { getBytes } from "./api.js";
import { createStretch, MARGIN_MS } from "./stretch.js";

const BLOCK_MS = 5000; // one request
const CHUNK_MS = 500; // one piece that is scheduled
const AHEAD_S = 1.5; // sound that is scheduled before it is due
const KEPT_BLOCKS = 48; // four minutes of one voice

/** Blocks of samples of all voices, the least recently used are dropped. */
function createBlocks(sessionId) {
  const blocks = new Map();
  return async function block(voice, place) {
    const key = `${voice.key} ${place}`;
    let waiting = blocks.get(key);
    if (!waiting) {
      const query = { session: sessionId, participant: voice.participant, run: voice.run,
        start_ms: place * BLOCK_MS, end_ms: (place + 1) * BLOCK_MS };
      waiting = getBytes("/media/samples", query).then((bytes) => {
        const samples = new Int16Array(bytes);
        return Float32Array.from(samples, (sample) => sample / 32768);
      });
      waiting.catch(() => blocks.delete(key));
    }
    blocks.delete(key);
    blocks.set(key, waiting);
    if (blocks.size > KEPT_BLOCKS) blocks.delete(blocks.keys().next().value);
    return waiting;
  };
}

/** Samples of [startMs, startMs + lengthMs) of a voice; silence before the session and after it. */
async function samplesOf(block, voice, startMs, lengthMs) {
  const result = new Float32Array(Math.round(lengthMs * voice.rateHz / 1000));
  const first = Math.round(startMs * voice.rateHz / 1000);
  let filled = Math.max(0, -first);
  while (filled < result.length) {
    const at = first + filled;
    const perBlock = BLOCK_MS * voice.rateHz / 1000;
    const place = Math.floor(at / perBlock);
    const samples = await block(voice, place);
    const part = samples.subarray(at - place * perBlock, at - place * perBlock + result.length - filled);
    if (!part.length) break; // past the end: silence
    result.set(part, filled);
    filled += part.length;
  }
  return result;
}

/**
 * The clock, and the sound of the voices on it.
 *
 * @param sessionId the session
 * @param voices [{key, participant, run, rateHz, pan}]; without any, the clock is the computer's
 * @param onProblem called with a text if the sound of a voice cannot be read
 */
export function createSound(sessionId, voices, onProblem) {
  const block = createBlocks(sessionId);
  let context = null;
  let onContext = false;
  let gains = new Map();
  let play = null; // {startMs, startS, rate, nextMs, stopped, sources, stretches}
  let volumes = new Map(voices.map((voice) => [voice.key, 1]));

  function open() {
    if (context) return;
    const rateHz = Math.max(8000, ...voices.map((voice) => voice.rateHz));
    context = new AudioContext({ sampleRate: rateHz, latencyHint: "interactive" });
    for (const voice of voices) {
      const gain = new GainNode(context, { gain: volumes.get(voice.key) });
      gain.connect(new StereoPannerNode(context, { pan: voice.pan })).connect(context.destination);
      gains.set(voice.key, gain);
    }
  }

  // A machine without any sound output may never start the context: then the computer's clock is used throughout.
  const nowS = () => (onContext ? smoothed() : performance.now() / 1000);

  // The context's time moves in steps of the sound card's buffer, up to 30 ms: the clock is the upper edge of the steps.
  let edge = { offsetS: -Infinity, nextS: -Infinity, sinceS: 0 };
  function smoothed() {
    const computerS = performance.now() / 1000;
    const offsetS = context.currentTime - computerS;
    if (Math.abs(offsetS - edge.offsetS) > 0.2) edge = { offsetS, nextS: offsetS, sinceS: computerS }; // it was suspended
    edge.nextS = Math.max(edge.nextS, offsetS);
    edge.offsetS = Math.max(edge.offsetS, offsetS);
    if (computerS - edge.sinceS > 1) edge = { offsetS: edge.nextS, nextS: offsetS, sinceS: computerS };
    return computerS + edge.offsetS;
  }

  /** Position of what leaves the loudspeaker now, in ms of the session; null while nothing plays. */
  function positionMs(atS = nowS() - outputDelayS()) {
    return play ? play.startMs + Math.max(0, atS - play.startS) * 1000 * play.rate : null;
  }

  const outputDelayS = () => (onContext ? context.outputLatency || context.baseLatency || 0 : 0);

  async function start(atMs, rate) {
    stop();
    open();
    if (context.state !== "running") await Promise.race([context.resume(), new Promise((done) => setTimeout(done, 500))]);
    onContext = context.state === "running";
    const stretches = new Map(voices.map((voice) => [voice.key, createStretch(rate, context.sampleRate)]));
    const mine = { startMs: atMs, startS: Infinity, rate, nextMs: atMs, stopped: false, sources: new Set(), stretches };
    play = mine;
    // The first piece of every voice is there before the clock starts, so that nothing of it is lost.
    await Promise.all(voices.map((voice) => samplesOf(block, voice, atMs, CHUNK_MS).catch(() => null)));
    if (mine.stopped) return;
    mine.startS = nowS() + 0.05;
    fill(mine);
  }

  async function fill(mine) {
    while (!mine.stopped) {
      const dueS = mine.startS + (mine.nextMs - mine.startMs) / 1000 / mine.rate;
      if (dueS - nowS() > AHEAD_S) {
        await new Promise((done) => setTimeout(done, 100));
        continue;
      }
      const fromMs = mine.nextMs;
      mine.nextMs += CHUNK_MS;
      await Promise.all(voices.map((voice) => schedule(mine, voice, fromMs, dueS)));
    }
  }

  async function schedule(mine, voice, fromMs, dueS) {
    let samples;
    try {
      samples = await samplesOf(block, voice, fromMs - MARGIN_MS, CHUNK_MS + 2 * MARGIN_MS);
    } catch (error) {
      onProblem(`sound of ${voice.participant}: ${error.message}`);
      return;
    }
    if (mine.stopped) return;
    const stretched = mine.stretches.get(voice.key)(samples, voice.rateHz);
    const buffer = new AudioBuffer({ length: stretched.length, numberOfChannels: 1, sampleRate: voice.rateHz });
    buffer.copyToChannel(stretched, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(gains.get(voice.key));
    source.onended = () => mine.sources.delete(source);
    mine.sources.add(source);
    // A piece that came late begins inside, where it is due now.
    const lateS = Math.max(0, nowS() - dueS);
    if (lateS < buffer.duration) source.start(dueS + lateS, lateS);
  }

  function stop() {
    if (!play) return;
    play.stopped = true;
    for (const source of play.sources) source.stop();
    play = null;
  }

  /** Which voices are audible: key -> 0 or 1. */
  function setVolumes(next) {
    volumes = next;
    for (const [key, gain] of gains) gain.gain.value = volumes.get(key) ?? 1;
  }

  function close() {
    stop();
    context?.close();
    context = null;
    onContext = false;
    gains = new Map();
  }

  return { start, stop, close, positionMs, setVolumes, graph: () => ({ context, gains, delayS: outputDelayS() }) };
}

/** Plays a short sound from an address, such as one unit, apart from the session. */
export function playOnce(url) {
  return new Audio(url).play();
}
