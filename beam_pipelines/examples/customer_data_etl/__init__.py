"""What stands beside the customer ETL: its functions, its connections, and the people of its CRM."""
