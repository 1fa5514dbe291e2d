"""The leads service: people who may buy, found once, kept tidy, moved through the funnel."""
