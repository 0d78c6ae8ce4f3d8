package Json;

# JSON both ways in core Perl: perl-base, all that a bare Debian has, ships no JSON module.
#
# encode() takes hashes, arrays, text, undef, num() and the booleans \1 and \0. Keys come out sorted, so equal data is
# equal bytes. decode() is strict RFC 8259 and says where it stopped, which also makes it the JSON lint.

use strict;
use warnings;

# Deeper than any document people write; keeps a hostile one from exhausting the stack.
use constant MAX_DEPTH => 512;

# Marks a number, since Perl itself does not tell 1 from "1".
sub num { my $value = 0 + ($_[0] // 0); return bless \$value, 'Json::Number' }

# One document in one line, as UTF-8 bytes. Bytes that are not UTF-8 appear as \xNN, so nothing is lost silently.
sub encode {
    my ($value) = @_;
    return 'null' if !defined $value;
    my $kind = ref $value;
    return quote($value)                    if $kind eq '';
    return "$$value"                        if $kind eq 'Json::Number';
    return $$value ? 'true' : 'false'       if $kind eq 'SCALAR';
    return '[' . join(',', map { encode($_) } @$value) . ']' if $kind eq 'ARRAY';
    return '{' . join(',', map { quote($_) . ':' . encode($value->{$_}) } sort keys %$value) . '}';
}

sub quote {
    my $text = printable($_[0]);
    $text =~ s/(["\\])/\\$1/g;
    $text =~ s/([\x00-\x1f\x7f])/sprintf '\\u%04x', ord $1/ge;
    return qq{"$text"};
}

# The same text as valid UTF-8: stray bytes become \xNN.
sub printable {
    my ($bytes) = @_;
    my $probe = $bytes;
    return $bytes if utf8::decode($probe) && $probe !~ /[\x{d800}-\x{dfff}\x{110000}-\x{7fffffff}]/;
    my $character = qr/[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}/;
    $bytes =~ s/\G($character)|([\x80-\xff])/defined $1 ? $1 : sprintf '\\x%02x', ord $2/ge;
    return $bytes;
}

# Returns (value, undef, undef) or (undef, reason, byte offset). A byte order mark at the start is let pass.
sub decode {
    my ($text) = @_;
    $text =~ /\A(?:\xef\xbb\xbf)?/g;
    pos($text) = $+[0];
    my $value = eval {
        my $read = read_value(\$text, 0);
        $text =~ /\G[ \t\r\n]*/gc;
        stop(\$text, 'more text after the end of the document') if pos($text) < length $text;
        $read;
    };
    if (ref $@ eq 'Json::Stop') { return (undef, $@->{reason}, $@->{at}) }
    die $@ if $@;
    return ($value, undef, undef);
}

sub stop {
    my ($text, $reason) = @_;
    die bless {reason => $reason, at => pos($$text) // 0}, 'Json::Stop';
}

sub read_value {
    my ($text, $depth) = @_;
    stop($text, 'nested more than ' . MAX_DEPTH . ' deep') if $depth > MAX_DEPTH;
    $$text =~ /\G[ \t\r\n]*/gc;
    return read_text($text)           if $$text =~ /\G"/gc;
    return read_object($text, $depth) if $$text =~ /\G\{/gc;
    return read_array($text, $depth)  if $$text =~ /\G\[/gc;
    return num($1)                    if $$text =~ /\G(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![0-9.])/gc;
    return \1                         if $$text =~ /\Gtrue\b/gc;
    return \0                         if $$text =~ /\Gfalse\b/gc;
    return undef                      if $$text =~ /\Gnull\b/gc;
    stop($text, pos($$text) >= length $$text ? 'the document ends where a value should be' : 'expected a value');
}

sub read_object {
    my ($text, $depth) = @_;
    my %object;
    return \%object if $$text =~ /\G[ \t\r\n]*\}/gc;
    while (1) {
        $$text =~ /\G[ \t\r\n]*/gc;
        $$text =~ /\G"/gc or stop($text, 'expected a name in double quotes');
        my $name = read_text($text);
        $$text =~ /\G[ \t\r\n]*:/gc or stop($text, "expected ':' after a name");
        $object{$name} = read_value($text, $depth + 1);
        next if $$text =~ /\G[ \t\r\n]*,/gc;
        return \%object if $$text =~ /\G[ \t\r\n]*\}/gc;
        $$text =~ /\G[ \t\r\n]*/gc;
        stop($text, "expected ',' or '}'");
    }
}

sub read_array {
    my ($text, $depth) = @_;
    my @array;
    return \@array if $$text =~ /\G[ \t\r\n]*\]/gc;
    while (1) {
        push @array, read_value($text, $depth + 1);
        next if $$text =~ /\G[ \t\r\n]*,/gc;
        return \@array if $$text =~ /\G[ \t\r\n]*\]/gc;
        $$text =~ /\G[ \t\r\n]*/gc;
        stop($text, "expected ',' or ']'");
    }
}

my %ESCAPE = (b => "\b", f => "\f", n => "\n", r => "\r", t => "\t", '"' => '"', '\\' => '\\', '/' => '/');

# The rest of a string whose opening quote has been read. Runs of plain characters are taken whole: a repeated group
# would meet Perl's limit on repetitions in a long string.
sub read_text {
    my ($text) = @_;
    my $out = '';
    while (1) {
        $out .= $1 if $$text =~ /\G([^"\\\x00-\x1f]+)/gc;
        return $out if $$text =~ /\G"/gc;
        if ($$text =~ m{\G\\(["\\/bfnrt])}gc) { $out .= $ESCAPE{$1}; next }
        if ($$text =~ /\G\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/gc) {
            $out .= utf8_bytes(0x10000 + ((hex($1) - 0xd800) << 10) + hex($2) - 0xdc00);
            next;
        }
        if ($$text =~ /\G\\u([0-9a-fA-F]{4})/gc) {
            my $code = hex $1;
            $out .= utf8_bytes($code >= 0xd800 && $code <= 0xdfff ? 0xfffd : $code);
            next;
        }
        stop($text, pos($$text) >= length $$text ? 'a string is not closed' : 'a string holds a control character or an unknown escape');
    }
}

sub utf8_bytes { my $character = chr $_[0]; utf8::encode($character); return $character }

1;
