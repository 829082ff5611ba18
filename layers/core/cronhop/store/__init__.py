"""DynamoDB: one PynamoDB model a table; nothing else imports pynamodb."""
