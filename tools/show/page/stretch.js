// Speech played slower or faster at its own pitch: waveform-similarity overlap-add (WSOLA; Verhelst and Roelands,
// ICASSP 1993). Pieces of a voice in, pieces of length / rate out, without a seam between them.

export const MARGIN_MS = 50; // sound before and after a piece that its frames may reach into
const HOP_S = 0.015;
const SEARCH_S = 0.008;

/**
 * Returns (input, rateHz) -> samples for consecutive pieces of one voice.
 * `input` is a piece with MARGIN_MS of the voice before and after it; at rate 1 the piece itself is returned.
 */
export function createStretch(rate) {
  let tail = null; // what would follow the last output sample; the next frame fades in over it
  let owed = 0; // fraction of an output sample

  return (input, rateHz) => {
    const margin = Math.round(MARGIN_MS * rateHz / 1000);
    const piece = input.subarray(margin, input.length - margin);
    if (rate === 1) return piece;
    const hop = Math.round(HOP_S * rateHz);
    const search = Math.round(SEARCH_S * rateHz);
    const wanted = piece.length / rate + owed;
    const output = new Float32Array(Math.floor(wanted));
    owed = wanted - output.length;
    tail ??= input.slice(margin, margin + hop);
    for (let written = 0; written < output.length;) {
      const count = Math.min(hop, output.length - written);
      const begin = mostAlike(input, tail, margin + Math.round(written * rate), search);
      for (let i = 0; i < count; i += 1) {
        const weight = i / count;
        output[written + i] = tail[i] * (1 - weight) + input[begin + i] * weight;
      }
      tail = input.slice(begin + count, begin + count + hop);
      written += count;
    }
    return output;
  };
}

/** Where, at most `search` samples around `ideal`, the input goes on most like `tail`. */
function mostAlike(input, tail, ideal, search) {
  let best = ideal;
  let bestScore = -Infinity;
  for (let begin = ideal - search; begin <= ideal + search; begin += 2) {
    let score = 0;
    for (let i = 0; i < tail.length; i += 3) score += tail[i] * (input[begin + i] ?? 0);
    if (score > bestScore) {
      bestScore = score;
      best = begin;
    }
  }
  return best;
}
