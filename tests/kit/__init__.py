"""What the tests share: real servers, real processes, and patience with a deadline."""
