"""What a plug-in is and how pgen finds it; imports no other package of pgen but errors, utils."""
