package kind

// maxDepth is how deep arrays and objects may be nested in an event's data. Data is sent on inside other JSON, and many
// programs cannot read very deep JSON; encoding/json ends at 10,000.
const maxDepth = 1000

// tooDeep reports whether JSON text is nested deeper than maxDepth. Of another text it says something, but it does not fail.
func tooDeep(text []byte) bool {
	if len(text) <= maxDepth {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++ // the next character does not end the string
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case c == ']', c == '}':
			depth--
		}
	}
	return false
}
