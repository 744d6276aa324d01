"""The Muse backend: users, projects and documents, as an example of a service on a schema that dbinit keeps."""
