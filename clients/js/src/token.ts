import { Stop } from "./errors.js";
import type { TokenContext } from "./client.js";

/**
 * A `getToken` that fetches the token, as text, from an endpoint of the application's.
 *
 * 401 and 403 mean that the user is not logged in: the client closes. Other failures are temporary, and so is
 * an answer that is no token, such as a page.
 */
export function fetchToken(url: string | URL, options: RequestInit = {}) {
  return async ({ signal }: TokenContext): Promise<string> => {
    const response = await fetch(url, { cache: "no-store", ...options, signal });
    const { status } = response;
    const answered = `${url} answered with ${status}`;
    if (status === 401 || status === 403) throw new Stop(`not logged in: ${answered}`);
    const token = (await response.text()).trim();
    // A page of HTML is the log-in's, or that of an application whose server answers everything with it.
    if (status !== 200 || !/^[\w.-]+$/.test(token)) throw new Error(`${answered}, and no JWT`);
    return token;
  };
}
