// All talk with the server. Every failure is an Error whose message can be shown.

const MARK = { "x-pushpull": "1" };
const GONE = "The server does not answer. Look whether it still runs, then try again.";

async function answered(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    throw new Error(`The server gave an answer that cannot be read (status ${response.status}).`);
  }
  if (!response.ok) {
    throw Object.assign(new Error(body.error || `The server refused (status ${response.status}).`), { status: response.status });
  }
  return body;
}

export async function get(path) {
  let response;
  try {
    response = await fetch(path);
  } catch {
    throw new Error(GONE);
  }
  return answered(response);
}

export async function post(path, body = {}) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { ...MARK, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error(GONE);
  }
  return answered(response);
}

// XMLHttpRequest, since fetch does not say how far an upload is.
export function upload(file, name, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/uploads?name=${encodeURIComponent(name)}`);
    request.setRequestHeader("x-pushpull", "1");
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.addEventListener("progress", (e) => progress(e.loaded, e.total));
    request.addEventListener("error", () =>
      reject(new Error("The upload broke off. Look whether the server still runs, then try again.")));
    request.addEventListener("load", () => {
      let body = {};
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // Said below.
      }
      if (request.status === 200) resolve(body);
      else reject(new Error(body.error || `The server refused (status ${request.status}).`));
    });
    request.send(file);
  });
}

// Live: a picture and sound there, scores back. Goes out even when the page is being left.
export async function packet(id, query, body) {
  let response;
  try {
    response = await fetch(`/api/live/${id}?${new URLSearchParams(query)}`, {
      method: "POST",
      headers: { ...MARK, "content-type": "application/octet-stream" },
      body,
      keepalive: body === null,
    });
  } catch {
    throw new Error(GONE);
  }
  return answered(response);
}

let known = null;
export function about() {
  known ??= get("/api/about").catch((e) => {
    known = null;
    throw e;
  });
  return known;
}

export const fileUrl = (id) => `/api/files/${id}`;
export const downloadUrl = (id) => `/api/files/${id}?download=1`;
