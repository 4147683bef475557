"""Small tools that tests share: deadlines, a client of the service, a webhook receiver. No test lives here."""
