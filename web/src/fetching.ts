/** Questions to the API; what cannot be had is null, and the page goes on without. */

export async function fetchJson(path: string): Promise<Record<string, unknown> | null> {
  try {
    const answer = await fetch(path);
    return answer.ok ? ((await answer.json()) as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
