# Prepares the environment as such images do, and becomes the program that it is given.
export PREPARED_BY=start.sh
exec "$@"
