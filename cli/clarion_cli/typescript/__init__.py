"""`clarion types`: TypeScript types of an application's events, messages and replies."""
