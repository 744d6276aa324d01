DROP FUNCTION windows();
