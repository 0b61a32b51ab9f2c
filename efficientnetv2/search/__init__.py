"""Architecture search: its space, its reward, its trials and its study."""
