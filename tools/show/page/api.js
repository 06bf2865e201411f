// Requests to the server of this page. The token is a cookie that scripts cannot read.

/** What the server refused, in its own words: one line that names value, expectation and remedy. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const GONE = "the server does not answer; is `python -m tools.show` still running? Start it again, then reload the page";

function address(path, query) {
  const filled = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(filled).toString();
  return text ? `${path}?${text}` : path;
}

async function answer(path, query, options) {
  let response;
  try {
    response = await fetch(address(path, query), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(GONE, 0);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text.slice(0, 500);
  try {
    message = JSON.parse(text).error ?? message;
  } catch {
    // not JSON: an error of aiohttp itself, whose text is shown as it is
  }
  throw new ServerError(message || `${path}: status ${response.status}`, response.status);
}

export const getJson = async (path, query = {}, signal = undefined) => (await answer(path, query, { signal })).json();

export const getBytes = async (path, query = {}, signal = undefined) =>
  (await answer(path, query, { signal })).arrayBuffer();

export const postJson = async (path, content) =>
  (
    await answer(path, {}, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(content),
    })
  ).json();

/** Address of a picture, video or sound, for `src`. */
export const mediaUrl = (name, query) => address(`/media/${name}`, query);
