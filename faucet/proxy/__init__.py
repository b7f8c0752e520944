"""The asyncio side: client connections, backend connections, and one exchange between them."""
