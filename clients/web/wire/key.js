// The API key of this tab, if the server wants one. It is kept until the tab is closed.

const NAME = "dreamserve-key";

export const apiKey = () => sessionStorage.getItem(NAME) ?? "";
export const useApiKey = (key) => sessionStorage.setItem(NAME, key);

/** Return the subprotocols of a WebSocket: browsers can set none of its other headers. */
export const subprotocols = () =>
  apiKey() ? ["dreamserve", `dreamserve-key-${apiKey()}`] : [];

/** Return the headers that send the key. */
export const keyHeaders = () => (apiKey() ? { authorization: `Bearer ${apiKey()}` } : {});

/** Return whether the server wants a key that we do not have; false if it does not answer. */
export async function isKeyWanted() {
  try {
    const url = new URL("worlds", document.baseURI);
    return (await fetch(url, { headers: keyHeaders() })).status === 401;
  } catch {
    return false;
  }
}
