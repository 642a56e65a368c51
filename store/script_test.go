package store

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// headerNames returns the names that a script's header lists under a title, in their order.
func headerNames(t *testing.T, script, title string) []string {
	t.Helper()
	_, list, found := strings.Cut(script, "\n-- "+title+"\n")
	if !found {
		t.Fatalf("no header line %q", title)
	}
	list, _, _ = strings.Cut(list, "\n--\n")
	list, _, _ = strings.Cut(list, "\nlocal ")
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^--   (\w+)`).FindAllStringSubmatch(list, -1) {
		names = append(names, match[1])
	}
	return names
}

// unpackedNames returns the names that a script gives to what it unpacks by the expression given.
func unpackedNames(t *testing.T, script, unpack string) []string {
	t.Helper()
	match := regexp.MustCompile(`local ([\w,\s]+?) = ` + regexp.QuoteMeta(unpack) + `\n`).FindStringSubmatch(script)
	if match == nil {
		t.Fatalf("nothing is %s", unpack)
	}
	return regexp.MustCompile(`\w+`).FindAllString(match[1], -1)
}

// sentNames returns the names of the fields of a struct of arguments, as the scripts spell them, in the order in which
// argv sends them.
func sentNames[T interface{ argv() []any }](t *testing.T) []string {
	t.Helper()
	var zero T
	empty := zero.argv()
	names := make([]string, len(empty))
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if f.Anonymous {
			continue
		}
		var args T
		switch v := reflect.ValueOf(&args).Elem().FieldByIndex(f.Index); v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Slice:
			v.SetBytes([]byte("x"))
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Uint64:
			v.SetUint(1)
		case reflect.Bool:
			v.SetBool(true)
		default:
			t.Fatalf("field %s has the kind %v", f.Name, v.Kind())
		}
		for i, value := range args.argv() {
			if !reflect.DeepEqual(value, empty[i]) {
				names[i] += scriptName(f.Name)
			}
		}
	}
	return names
}

// scriptName spells a field's name as the scripts do: onceTTL, ttl, eventType.
func scriptName(field string) string {
	if field == strings.ToUpper(field) {
		return strings.ToLower(field)
	}
	return strings.ToLower(field[:1]) + field[1:]
}

func TestTheScriptsReadWhatIsSent(t *testing.T) {
	for _, test := range []struct {
		script, title, unpack string
		sent                  []string
	}{
		{appendLua, "ARGV, as channelArgs in script.go sends it", "unpack(argv, 1, 7)", sentNames[channelArgs](t)},
		{appendLua, "ARGV then, for each event, as appendArgs in script.go sends it", "", sentNames[appendArgs](t)},
		{adoptLua, "ARGV, as adoptArgs in script.go sends it", "unpack(argv, 1, 15)", sentNames[adoptArgs](t)},
		{adoptLua, "ARGV then, for each message, as messageArgs in script.go sends it", "", sentNames[messageArgs](t)},
	} {
		if got := headerNames(t, test.script, test.title); !slices.Equal(got, test.sent) {
			t.Errorf("%s:\nsent   %q\nheader %q", test.title, test.sent, got)
		}
		if test.unpack == "" {
			continue
		}
		if got := unpackedNames(t, test.script, test.unpack); !slices.Equal(got, test.sent) {
			t.Errorf("%s:\nsent %q\nread %q", test.title, test.sent, got)
		}
	}
	if got := len(sentNames[adoptArgs](t)); got != 15 || !strings.Contains(adoptLua, "for i = 16, #argv, 9 do") {
		t.Errorf("%d arguments stand before the messages, but the loop over the messages begins elsewhere", got)
	}
	if got := len(sentNames[channelArgs](t)); got != 7 || !strings.Contains(appendLua, "for i = 8, #argv, 9 do") {
		t.Errorf("%d arguments stand before the events, but the loop over the events begins elsewhere", got)
	}
	if got := []int{len(sentNames[messageArgs](t)), len(sentNames[appendArgs](t))}; got[0] != 9 || got[1] != 9 {
		t.Errorf("%d arguments are sent for each message or event, but the loops take 9", got)
	}
	// An event is handed from the arguments to take as it is sent.
	takes := regexp.MustCompile(`local function take\(channel, ([\w, ]+)\)`).FindStringSubmatch(addLua)
	if takes == nil {
		t.Fatal("there is no take")
	}
	event := sentNames[eventArgs](t)
	if want := strings.Join(event, ", ") + ", ifNew"; takes[1] != want {
		t.Errorf("take:\ntakes %s\nsent  %s", takes[1], want)
	}
	if !slices.Equal(sentNames[appendArgs](t), append(slices.Clone(event), "ifNew", "once")) ||
		!strings.Contains(appendLua, "take(channel, unpack(argv, i, i + 7))") || !strings.Contains(appendLua, "argv[i + 8] == '1'") {
		t.Error("append.lua takes other arguments than are sent")
	}
	if !slices.Equal(sentNames[messageArgs](t), append([]string{"reason", "payload"}, event...)) ||
		!strings.Contains(adoptLua, "take(channel, unpack(argv, i + 2, i + 8))") ||
		!strings.Contains(adoptLua, "reason = argv[i]") || !strings.Contains(adoptLua, "payload = argv[i + 1]") {
		t.Error("adopt.lua takes other arguments than are sent")
	}
	if header, read := headerNames(t, adoptLua, "KEYS"), unpackedNames(t, adoptLua, "unpack(KEYS)"); !slices.Equal(header, read) {
		t.Errorf("keys:\nheader %q\nread   %q", header, read)
	}
}
