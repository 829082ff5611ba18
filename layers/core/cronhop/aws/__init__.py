"""AWS beside DynamoDB: queue, output, secrets; nothing else imports boto3."""
