import { Stop } from "./errors.js";
import type { TokenContext } from "./client.js";

/**
 * A `getToken` that fetches the token, as text, from an endpoint of the application's.
 *
 * 401 and 403 mean that the user is not logged in: the client closes. Other failures are temporary.
 */
export function fetchToken(url: string | URL, options: RequestInit = {}) {
  return async ({ signal }: TokenContext): Promise<string> => {
    const response = await fetch(url, { cache: "no-store", ...options, signal });
    if (response.status === 401 || response.status === 403) {
      throw new Stop(`not logged in: ${url} answered with ${response.status}`);
    }
    if (!response.ok) throw new Error(`${url} answered with ${response.status}`);
    return (await response.text()).trim();
  };
}
