# A manual page from a page of Markdown, so that there is one text and not two.
#
#     awk -v name=outfall.conf -v section=5 -v what="configuration of outfall" -f from_markdown.awk PAGE.md
#
# Knows what our pages use: headings, paragraphs, lists, tables, indented examples, `code`, **bold** and links.
# The first heading is left out; NAME stands for it. A table becomes a list, its first column the
# tags; further columns follow under the words of the table's head.

function escaped(text) {
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text) # to be copied, and not a hyphen
	gsub(/'/, "\\(aq", text)
	gsub(/…/, "...", text)
	return text
}

# Code and bold begin and end with the same sign, so every second piece is one.
function marked(text, sign, font,    pieces, n, i, out) {
	n = split(text, pieces, sign)
	out = pieces[1]
	for (i = 2; i <= n; i++)
		out = out (i % 2 == 0 ? font : "\\fR") pieces[i]
	return out
}

function unlinked(text,    at) {
	while (match(text, /\[[^\]]*\]\([^)]*\)/)) {
		at = index(substr(text, RSTART), "]")
		text = substr(text, 1, RSTART - 1) substr(text, RSTART + 1, at - 2) substr(text, RSTART + RLENGTH)
	}
	return text
}

function formatted(text) {
	text = marked(unlinked(escaped(text)), "`", "\\fB")
	return marked(text, "\\*\\*", "\\fB")
}

function put(text) {
	if (text ~ /^[.']/)
		text = "\\&" text
	print text
}

function leave_example() {
	if (in_example)
		print ".EE\n.RE"
	in_example = 0
}

function table_row(line,    cells, n, i, text) {
	gsub(/^\| */, "", line)
	gsub(/ *\|$/, "", line)
	n = split(line, cells, / *\| */)
	if (in_table++ == 0) {
		for (i = 1; i <= n; i++)
			head[i] = cells[i]
		return
	}
	if (cells[1] ~ /^-+$/)
		return
	print ".TP"
	put(formatted(cells[1]))
	for (i = 2; i <= n; i++) {
		if (cells[i] == "")
			continue
		text = formatted(cells[i])
		put(n > 2 && head[i] != "" ? formatted(head[i]) ": " text : text)
		if (i < n)
			print ".br"
	}
}

BEGIN {
	printf ".\\\" Made from Markdown by from_markdown.awk.\n"
	printf ".TH \"%s\" %s \"\" \"outfall\" \"outfall\"\n", toupper(name), section
	printf ".SH NAME\n%s \\- %s\n", name, what
}

/^# / && !titled {
	titled = 1
	print ".SH DESCRIPTION"
	next
}

/^Printed from / { next } # where the page comes from is nothing to who reads the manual

/^\|/ {
	leave_example()
	if (!in_table)
		delete head
	table_row($0)
	next
}
{ in_table = 0 }

/^    / && !in_text {
	if (!in_example)
		print ".PP\n.RS 4\n.EX"
	in_example = 1
	put(escaped(substr($0, 5)))
	next
}

/^$/ {
	in_text = 0
	if (in_example)
		pending = 1
	else
		paragraph = 1
	next
}

{
	leave_example()
	if (pending)
		paragraph = 1
	pending = 0
}

/^## / { print ".SH \"" toupper(marked(escaped(substr($0, 4)), "`", "")) "\""; paragraph = 0; next }
/^### / { print ".SS \"" marked(escaped(substr($0, 5)), "`", "") "\""; paragraph = 0; next }
/^\* / { print ".IP \\(bu 2"; in_text = 1; paragraph = 0; put(formatted(substr($0, 3))); next }

{
	if (paragraph)
		print ".PP"
	paragraph = 0
	in_text = 1
	sub(/^ +/, "")
	put(formatted($0))
}

END { leave_example() }
