"""Templated e-mail: templates, the queue of messages, and the providers that carry them."""
