package kind_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/store/kind"
)

const maxPayload = 1000

// verdict is what became of something to publish: the data of the draft, or the code and fields of the error.
func verdict(t testing.TB, d kind.Draft, err error) string {
	t.Helper()
	if err == nil {
		return string(d.Data)
	}
	wrong, ok := errors.AsType[*kind.InvalidError](err)
	if !ok {
		t.Fatalf("the error %v is no *InvalidError", err)
	}
	if wrong.Code == "" || wrong.Message == "" {
		t.Errorf("an error without code or message: %+v", wrong)
	}
	return strings.TrimSpace(wrong.Code + " " + strings.Join(wrong.Fields, ","))
}

func TestWhatARawPayloadBecomes(t *testing.T) {
	const notification = `{"type":"info","title":"a","message":"b","read":false}`
	for _, test := range []struct{ name, channel, payload, want string }{
		{"JSON is data", "orders", `{"a":1}`, `{"a":1}`},
		{"JSON is compacted", "orders", " {\n \"a\" : [ 1 , 2 ] }\r\n", `{"a":[1,2]}`},
		{"a number is data", "orders", `1.0`, `1.0`},
		{"a big number stays whole", "orders", `12345678901234567890`, `12345678901234567890`},
		{"null is data", "orders", `null`, `null`},
		{"a JSON text is data", "orders", `"x"`, `"x"`},
		{"escapes stay as they are", "orders", `"\u003c\/"`, `"\u003c\/"`},
		{"plain text becomes a JSON text", "orders", `Hello world`, `"Hello world"`},
		{"half JSON is plain text", "orders", `{"a":`, `"{\"a\":"`},
		{"two JSON values are plain text", "orders", `1 2`, `"1 2"`},
		{"text keeps its blanks", "orders", ` x `, `" x "`},
		{"text keeps its lines", "orders", "a\nb\r\n", `"a\nb\r\n"`},
		{"text is not escaped for HTML", "orders", `<b>&`, `"<b>&"`},
		{"nothing is an empty text", "orders", ``, `""`},
		{"blanks are a text", "orders", "  ", `"  "`},
		{"a zero byte is a character", "orders", "a\x00b", `"a\u0000b"`},
		{"a byte order mark is a character", "orders", "\ufeff1", "\"\ufeff1\""},
		{"the longest payload", "orders", strings.Repeat("x", maxPayload), `"` + strings.Repeat("x", maxPayload) + `"`},
		{"one byte more", "orders", strings.Repeat("x", maxPayload+1), "too_large"},
		{"not UTF-8", "orders", "\xff", "invalid_text"},
		{"half a character", "orders", "\xe2\x82", "invalid_text"},

		{"a notification", kind.Notifications, `{"type":"info","title":"a","message":"b"}`, notification},
		{"plain text is an info notification", kind.Notifications, ` Backup done `,
			`{"type":"info","title":"Notification","message":"Backup done","read":false}`},
		{"so is a number", kind.Notifications, `42`, `{"type":"info","title":"Notification","message":"42","read":false}`},
		{"so is an array", kind.Notifications, `[1]`, `{"type":"info","title":"Notification","message":"[1]","read":false}`},
		{"a notification cannot be read already", kind.Notifications, `{"type":"info","title":"a","message":"b","read":true}`, notification},
		{"nor bring its id and time", kind.Notifications, `{"id":"1","timestamp":1,"type":"info","title":"a","message":"b"}`, notification},
		{"nothing is no notification", kind.Notifications, ``, "invalid_json"},
		{"blanks are no notification", kind.Notifications, " \n", "invalid_json"},
		{"half a notification", kind.Notifications, `{"type":"info"`, "invalid_json"},
		{"fields are missing", kind.Notifications, `{"type":"info"}`, "missing_fields title,message"},
		{"an unknown type", kind.Notifications, `{"type":"x","title":"a","message":"b"}`, "invalid_type type"},
		{"a number for a text", kind.Notifications, `{"type":"info","title":1,"message":"b"}`, "invalid_field title"},

		{"an activity", kind.Activities, `{"type":"post_created","userName":"a","action":"b"}`,
			`{"type":"post_created","userId":"","userName":"a","action":"b","details":""}`},
		{"plain text is no activity", kind.Activities, `hello`, "invalid_json"},
		{"an array is no activity", kind.Activities, `[]`, "invalid_json"},

		{"a report", "progress:t1", `{"progress":5}`, `{"taskId":"t1","progress":5,"status":"processing","message":"","currentStep":""}`},
		{"a report cannot be of another task", "progress:t1", `{"taskId":"t2","progress":5}`,
			`{"taskId":"t1","progress":5,"status":"processing","message":"","currentStep":""}`},
		{"a number is no report", "progress:t1", `5`, "invalid_json"},
		{"too much progress", "progress:t1", `{"progress":101}`, "invalid_progress progress"},
		{"an unknown status", "progress:t1", `{"progress":1,"status":"x"}`, "invalid_status status"},

		{"a channel that cannot be", "a b", `1`, "invalid_channel"},
		{"a channel of ours", "sluice:markers", `1`, "invalid_channel"},
		{"a progress channel of no task", "progress:", `{"progress":1}`, "invalid_channel"},
	} {
		d, err := kind.DraftPayload(test.channel, []byte(test.payload), maxPayload)
		if got := verdict(t, d, err); got != test.want {
			t.Errorf("%s: %q on %s becomes\n     %s\nwant %s", test.name, test.payload, test.channel, got, test.want)
		}
	}
}

func TestWhatPostedDataBecomes(t *testing.T) {
	for _, test := range []struct{ name, channel, typ, data, want string }{
		{"any JSON", "orders", "paid", ` { "a" : 1.0 } `, `{"a":1.0}`},
		{"without a type", "orders", "", `null`, `null`},
		{"no data", "orders", "", ``, "missing_fields data"},
		{"no JSON", "orders", "", `x`, "invalid_json data"},
		{"not UTF-8", "orders", "", "\"\xff\"", "invalid_json data"},
		{"a type with a line end", "orders", "a\n", `1`, "invalid_type"},
		{"the type open", "orders", "open", `1`, "invalid_type type"},
		{"the type error", "orders", "error", `1`, "invalid_type type"},
		{"the type gap", "orders", "gap", `1`, "invalid_type type"},
		{"a type that is too long", "orders", strings.Repeat("x", 65), `1`, "invalid_type"},
		{"a channel that is too long", strings.Repeat("x", 129), "", `1`, "invalid_channel"},
		{"a channel without a name", "", "", `1`, "invalid_channel"},
		{"a notification", kind.Notifications, "", `{"type":"error","title":"a","message":"b"}`,
			`{"type":"error","title":"a","message":"b","read":false}`},
		{"a notification with its type", kind.Notifications, "error", `{"type":"error","title":"a","message":"b"}`,
			`{"type":"error","title":"a","message":"b","read":false}`},
		{"a notification with another type", kind.Notifications, "info", `{"type":"error","title":"a","message":"b"}`, "invalid_type type"},
		{"a text is no notification here", kind.Notifications, "", `"hello"`, "invalid_json"},
		{"a report", "progress:t", "completed", `{"progress":100}`,
			`{"taskId":"t","progress":100,"status":"completed","message":"","currentStep":""}`},
	} {
		d, err := kind.DraftJSON(test.channel, test.typ, []byte(test.data))
		if got := verdict(t, d, err); got != test.want {
			t.Errorf("%s: %q on %s becomes\n     %s\nwant %s", test.name, test.data, test.channel, got, test.want)
		}
	}
}

func TestDataIsNotNestedSoDeepThatAReaderFails(t *testing.T) {
	nested := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	brackets := []byte(`["\"` + strings.Repeat("[", 5000) + `", {}]`)
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"nested as deep as it may be", nested(1000), string(nested(1000))},
		{"deeper", nested(1001), "too_deep data"},
		{"as deep as encoding/json reads", nested(10_000), "too_deep data"},
		{"brackets in a string", brackets, `["\"` + strings.Repeat("[", 5000) + `",{}]`},
		{"wide, not deep", []byte("[" + strings.Repeat("[],", 2000) + "[]]"), "[" + strings.Repeat("[],", 2000) + "[]]"},
	} {
		d, err := kind.DraftPayload("orders", test.data, 1<<20)
		if got := verdict(t, d, err); got != test.want {
			t.Errorf("%s: a raw message becomes %.100s", test.name, got)
		}
		d, err = kind.DraftJSON("orders", "", test.data)
		if got := verdict(t, d, err); got != test.want {
			t.Errorf("%s: posted data becomes %.100s", test.name, got)
		}
	}
	text := strings.Repeat("[", 2000) // brackets, but no JSON
	if d, err := kind.DraftPayload("orders", []byte(text), 1<<20); verdict(t, d, err) != `"`+text+`"` {
		t.Errorf("a text of brackets becomes %.100s", verdict(t, d, err))
	}
}

func TestTheTypeOfADraftIsThatOfItsData(t *testing.T) {
	for _, test := range []struct {
		channel, data, typ string
		fill               kind.Fill
		final              bool
	}{
		{kind.Notifications, `{"type":"warning","title":"a","message":"b"}`, "warning", kind.FillID, false},
		{kind.Activities, `{"type":"user_joined","userName":"a","action":"b"}`, "user_joined", kind.FillID, false},
		{"progress:t", `{"progress":1}`, "processing", kind.FillNothing, false},
		{"progress:t", `{"progress":100}`, "completed", kind.FillNothing, true},
		{"progress:t", `{"progress":1,"status":"failed"}`, "failed", kind.FillNothing, true},
		{"progress:t", `{"status":"failed"}`, "failed", kind.FillProgress, true},
		{"progress:t", `{"status":"pending"}`, "pending", kind.FillNothing, false},
		{"orders", `{"type":"paid"}`, "", kind.FillNothing, false},
	} {
		d, err := kind.DraftPayload(test.channel, []byte(test.data), maxPayload)
		if err != nil || d.Channel != test.channel || d.Type != test.typ || d.Fill != test.fill || d.Final != test.final {
			t.Errorf("%s %s: %+v, %v", test.channel, test.data, d, err)
		}
	}
}

func TestALinkLeadsNowhereThatRuns(t *testing.T) {
	draft := func(link string) error {
		_, err := kind.Notification{Type: "info", Title: "a", Message: "b", Link: link}.Draft()
		return err
	}
	for _, link := range []string{"", "/", "/a/b?c=d#e", "http://example.com", "https://example.com:8443/a?b", "https://[2001:db8::1]/"} {
		if err := draft(link); err != nil {
			t.Errorf("%q is refused: %v", link, err)
		}
	}
	for _, link := range []string{
		"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)", "\x01javascript:alert(1)",
		"data:text/html,x", "vbscript:x", "file:///etc/passwd", "mailto:a@b", "ftp://x", "//evil.test", `/\evil.test`, "/\t/evil.test",
		"evil.test", "./a", "?a", "#a", "http:", "http://", "https:/evil.test", "https:evil.test", "http:/\\evil.test", "%", "http://[::1",
	} {
		if draft(link) == nil {
			t.Errorf("%q is taken", link)
		}
	}
}

func TestATasksIDFitsIntoItsChannel(t *testing.T) {
	long := strings.Repeat("x", 128-len("progress:"))
	if err := kind.CheckTaskID(long); err != nil {
		t.Errorf("an id of %d characters: %v", len(long), err)
	}
	if err := kind.CheckChannel(kind.TaskChannel(long)); err != nil {
		t.Errorf("its channel: %v", err)
	}
	if kind.CheckTaskID(long+"x") == nil || kind.CheckChannel(kind.TaskChannel(long+"x")) == nil {
		t.Error("one character more is taken")
	}
	if kind.CheckTaskID("") == nil {
		t.Error("an empty id is taken")
	}
}

// FuzzDraftPayload: a payload is understood the same way each time (replicas must agree), and what comes of it is one
// line of valid JSON, within bounds that follow from the payload's.
func FuzzDraftPayload(f *testing.F) {
	for _, payload := range []string{
		``, ` `, `{}`, `[]`, `null`, `"x"`, `1.0`, `plain`, "a\nb", "\x00", "\xff", "\u2028", `{"type":"info","title":"a","message":"b"}`,
		`{"progress":50}`, `{"status":"failed"}`, `{"type":"user_joined","userName":"a","action":"b"}`, `{"a":`, "\ufeff{}", `{"a":1}{}`,
		strings.Repeat(`[`, 500), `{"message":"\ud800"}`, `{"progress":1e308}`, `{"progress":-0}`,
	} {
		for _, channel := range []string{"orders", kind.Notifications, kind.Activities, "progress:t1", "bad channel"} {
			f.Add(channel, []byte(payload))
		}
	}
	f.Fuzz(func(t *testing.T, channel string, payload []byte) {
		before := string(payload)
		d, err := kind.DraftPayload(channel, payload, maxPayload)
		again, errAgain := kind.DraftPayload(channel, []byte(before), maxPayload)
		if verdict(t, d, err) != verdict(t, again, errAgain) || d.Type != again.Type || d.Final != again.Final || d.Fill != again.Fill {
			t.Errorf("%q on %q: %+v %v, then %+v %v", payload, channel, d, err, again, errAgain)
		}
		if string(payload) != before {
			t.Errorf("the payload %q was changed to %q", before, payload)
		}
		if err != nil {
			return
		}
		if !json.Valid(d.Data) || !utf8.Valid(d.Data) || bytes.ContainsAny(d.Data, "\r\n") {
			t.Errorf("%q on %q becomes %q: not one line of JSON", payload, channel, d.Data)
		}
		if len(d.Data) > 6*len(payload)+200 {
			t.Errorf("%d bytes become %d", len(payload), len(d.Data))
		}
		if kind.CheckChannel(d.Channel) != nil || kind.CheckType(d.Type) != nil {
			t.Errorf("draft with channel %q and type %q", d.Channel, d.Type)
		}
		if filled := string(d.Data[:d.FillAt]) + `"filled":1,` + string(d.Data[d.FillAt:]); d.Fill != kind.FillNothing && !json.Valid([]byte(filled)) {
			t.Errorf("there is no place for fields in %s at %d", d.Data, d.FillAt)
		}
	})
}
