#define TEXT(name) #name
#define TEXT_OF(name) TEXT(name)

const char *two(void) { return TEXT_OF(FOLDER); }
