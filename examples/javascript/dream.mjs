// Requests to a dreamserve server, by fetch or over one WebSocket; the picture of a frame.
// No dependency, no build. The WebSocket part needs a browser, Deno, Bun, or Node 22 or later.

/** Return send(verb, body), which sends each request by HTTP: send("reset", { seed: 7 }). */
export function overHttp(server) {
  return async (verb, body) => {
    const response = await fetch(`${server}/${verb.replace("_", "/")}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return resultOf(response.status, await response.json());
  };
}

/** Return the same for one WebSocket, which many dreams may share, once it is open. */
export async function overStream(server) {
  const socket = new WebSocket(server.replace(/^http/, "ws") + "/stream");
  const waiting = new Map(); // id of a request → what settles its promise
  let lastId = 0;
  socket.onmessage = ({ data }) => {
    const { id, status, body } = JSON.parse(data);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    try {
      resolve(resultOf(status, body));
    } catch (problem) {
      reject(problem);
    }
  };
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onclose = () => reject(new Error(`no WebSocket to ${server}`));
  });
  socket.onclose = () => waiting.forEach(({ reject }) => reject(new Error("the socket closed")));
  return (verb, body) =>
    new Promise((resolve, reject) => {
      waiting.set((lastId += 1), { resolve, reject });
      socket.send(JSON.stringify({ id: lastId, verb, body }));
    });
}

/** Draw a frame, nested lists [height][width][3] of 0 to 255, on a canvas of that size. */
export function draw(canvas, frame) {
  const image = new ImageData(canvas.width, canvas.height);
  frame.flat().forEach((pixel, index) => image.data.set([...pixel, 255], 4 * index));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function resultOf(status, body) {
  if (status >= 400) throw new Error(`${body.code}: ${body.detail}`);
  return body;
}
