"""What a user sees: pictures, tables of a store, export."""
