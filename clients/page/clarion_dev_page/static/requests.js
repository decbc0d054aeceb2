// Requests to the gateway's own endpoints and to the publisher; a refusal throws its words.

export const getJson = (url) => answerOf(fetch(url, { cache: "no-store" }), url);

export const postJson = (url, value) => sendJson(url, JSON.stringify(value), {});

export const sendJson = (url, body, headers) =>
  answerOf(
    fetch(url, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body }),
    url,
  );

async function answerOf(request, url) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error(`no answer from ${new URL(url, location).host}`);
  }
  const body = await response.json().catch(() => ({}));
  const { status } = response;
  if (!response.ok) throw Object.assign(new Error(body.detail ?? body.title ?? `status ${status}`), { status });
  return body;
}
