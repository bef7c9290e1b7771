// Requests to a dreamserve server, by fetch or over one WebSocket; the picture of a frame.
// No dependency, no build. The WebSocket part needs a browser, Deno, Bun, or Node 22 or later.

// Method and path of the verbs that are not POST /verb; {names} are fields of the body.
const PATHS = {
  worlds: "GET /worlds", world: "GET /worlds/{name}",
  sessions: "GET /sessions", session: "GET /sessions/{session_id}",
  delete: "DELETE /sessions/{session_id}",
  fork: "POST /sessions/{session_id}/fork", rewind: "POST /sessions/{session_id}/rewind",
  snapshot: "GET /sessions/{session_id}/snapshot", restore: "PUT /sessions/{session_id}/snapshot",
  admin_sessions: "GET /admin/sessions",
  admin_load: "POST /admin/worlds", admin_unload: "DELETE /admin/worlds/{name}",
};

/** Return send(verb, body), which sends each request by HTTP: send("reset", { seed: 7 }). */
export function overHttp(server) {
  return async (verb, body = {}) => {
    const fields = { ...body };
    const [method, pattern] = (PATHS[verb] ?? `POST /${verb.replace("_", "/")}`).split(" ");
    const path = pattern.replace(/{(\w+)}/, (_, name) => {
      const value = encodeURIComponent(fields[name]);
      delete fields[name];
      return value;
    });
    const inQuery = method === "GET" ? `?${new URLSearchParams(fields)}` : "";
    const hasBody = method === "POST" || method === "PUT";
    const response = await fetch(server + path + inQuery, {
      method,
      headers: hasBody ? { "content-type": "application/json" } : {},
      body: hasBody ? JSON.stringify(fields.snapshot ?? fields) : undefined,
    });
    const result = response.status === 204 ? undefined : await response.json();
    if (!response.ok) throw problemOf(result);
    return result;
  };
}

/** Return the same for one WebSocket, which many dreams may share, until `send.close()`. */
export async function overStream(server) {
  const socket = new WebSocket(server.replace(/^http/, "ws") + "/stream");
  const waiting = new Map(); // id of a request → what settles its promise
  let lastId = 0;
  const fail = (error) => {
    waiting.forEach(({ reject }) => reject(error));
    waiting.clear();
  };
  socket.onmessage = ({ data }) => {
    const { id, status, body } = JSON.parse(data);
    const one = waiting.get(id);
    waiting.delete(id);
    if (id === null) fail(problemOf(body)); // one request could not be read, nobody knows which
    else if (status < 400) one?.resolve(body);
    else one?.reject(problemOf(body));
  };
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onclose = () => reject(new Error(`no WebSocket to ${server}`));
  });
  socket.onclose = () => fail(new Error("the socket closed"));
  const send = (verb, body = {}) =>
    new Promise((resolve, reject) => {
      if (socket.readyState !== WebSocket.OPEN) throw new Error("the socket is closed");
      waiting.set((lastId += 1), { resolve, reject });
      socket.send(JSON.stringify({ id: lastId, verb, body }));
    });
  return Object.assign(send, { close: () => socket.close() });
}

/** Draw a frame, nested lists [height][width][3] of 0 to 255, on a canvas of that size. */
export function draw(canvas, frame) {
  const image = new ImageData(canvas.width, canvas.height);
  frame.flat().forEach((pixel, index) => image.data.set([...pixel, 255], 4 * index));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function problemOf({ code, detail }) {
  return new Error(`${code}: ${detail}`);
}
