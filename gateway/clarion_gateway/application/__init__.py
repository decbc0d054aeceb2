"""The application's side: handlers for its clients' messages, and interceptors around them."""
