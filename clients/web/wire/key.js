// The API key of this tab, if the server wants one. It is kept until the tab is closed.

const NAME = "dreamserve-key";
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/; // RFC 9110's, which alone can be a subprotocol

/** Return whether a text can be sent as a key. */
export const canBeKey = (text) => TOKEN.test(text);

/** Return the key of this tab, or "". */
export function apiKey() {
  const kept = sessionStorage.getItem(NAME) ?? "";
  return canBeKey(kept) ? kept : "";
}

export const useApiKey = (key) => sessionStorage.setItem(NAME, key);

/** Return the subprotocols of a WebSocket: browsers can set none of its other headers. */
export const subprotocols = () =>
  apiKey() ? ["dreamserve", `dreamserve-key-${apiKey()}`] : [];

/** Return the headers that send the key. */
export const keyHeaders = (key = apiKey()) => (key ? { authorization: `Bearer ${key}` } : {});

/** Return whether the server wants a key that we do not have; forget one that it refuses. */
export async function isKeyWanted() {
  const key = apiKey();
  const isWanted = (await statusWith(key)) === 401;
  if (isWanted && key === apiKey()) sessionStorage.removeItem(NAME);
  return isWanted;
}

/** Return the status of a request with a key: 200, 401 if the server refuses it; 0 if none came. */
export async function statusWith(key) {
  try {
    const url = new URL("worlds", document.baseURI);
    return (await fetch(url, { headers: keyHeaders(key) })).status;
  } catch {
    return 0;
  }
}
