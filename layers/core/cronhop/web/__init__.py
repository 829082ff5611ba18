"""HTTP to whatever users name: nothing else imports urllib3."""
