// Talking to the server from the labelling room, and making elements of what it answers.

function cookie(name) {
  return document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? "";
}

/** Sends a form's fields; a redirect (to the login page) comes back as status 0. */
export async function request(url, fields) {
  const response = await fetch(url, {
    method: fields ? "POST" : "GET",
    body: fields && new URLSearchParams(fields),
    headers: { Accept: "application/json", "X-CSRFToken": cookie("csrftoken") },
    credentials: "same-origin",
    redirect: "manual",
  });
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  return { status: response.status, body: isJson ? await response.json() : null };
}

export function element(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content.firstElementChild;
}
