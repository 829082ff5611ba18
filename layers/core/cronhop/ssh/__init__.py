"""SSH: paramiko and the remote runner; nothing else imports paramiko."""
