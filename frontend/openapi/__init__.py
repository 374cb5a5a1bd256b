"""What both APIs take and answer, as OpenAPI documents, pages and tables made from the code that validates."""
