# Redraw with `gnuplot milestone_map.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'milestone_map.tsv'

# One pass over the rows: panels in their order, ticks, ranges, the title.
parts = ''; laws = ''; lifetimes = ''; shares = ''; model = ''; budget = NaN; n_min = 1e18; n_max = 0; most = 0.1; best = 0.1
note_part(p) = style_has(parts, p) ? 0 : (parts = parts.' '.p, 0)
note_law(l) = style_has(laws, l) ? 0 : (laws = laws.' '.l, 0)
note_tick(u, l, v, s) = (words(lifetimes) < u ? (lifetimes = lifetimes.' '.l, 0) : 0, words(shares) < v ? (shares = shares.' '.s, 0) : 0, 0)
note_value(p, v) = p eq 'raas' ? (best = v > best ? v : best, 0) : (most = abs(v) > most ? abs(v) : most, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, 0)
note_text(m, b) = (model = m, budget = b, 0)
stats data using (note_part(strcol('part')) + note_law(strcol('reuse')) + note_n(column('n')) + note_text(strcol('model'), column('budget')) \
    + note_tick(column('u'), strcol('lifetime'), column('v'), strcol('phoenix')) + note_value(strcol('part'), column('value'))) nooutput
counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)
U = words(lifetimes); V = words(shares); P = words(parts); L = words(laws)

# White is 0; accuracy goes to green, more than the other to blue, less to orange.
mix(from, t) = int(255 + (from - 255) * t + 0.5)
tint(r, g, b, t) = mix(r, t) * 65536 + mix(g, t) * 256 + mix(b, t)
shade(v, i) = i == 1 ? tint(0, 158, 115, v / best) : v < 0 ? tint(213, 94, 0, -v / most) : tint(0, 114, 178, v / most)
dark(v, i) = (i == 1 ? v / best : abs(v) / most) > 0.72
ink(v, i) = dark(v, i) ? 0xffffff : 0x222222
of(i, l, c) = column('x') == i && column('y') == l ? column(c) : NaN
sign(v, i) = i == 1 ? sprintf('%.2f', v) : sprintf('%+.2f', v)
text(i) = sign(column('value'), i).(column('star') == 2 ? ' **' : column('star') == 1 ? ' *' : '')
interval(i) = sign(column('lo'), i).' … '.sign(column('hi'), i)
heading(i) = i == 1 ? 'accuracy of raas' : 'raas − '.word(parts, i)

cell_w = 92; cell_h = 44; left = 112; upper = 74; gap_x = 26; gap_y = 30; lower = 92
panel_w = U * cell_w; panel_h = V * cell_h
width = left + P * panel_w + (P - 1) * gap_x + 20
height = upper + L * panel_h + (L - 1) * gap_y + lower
x_from(i) = left + (i - 1) * (panel_w + gap_x) + 0.0
y_from(l) = height - upper - l * panel_h - (l - 1) * gap_y + 0.0

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'milestone_map.'.format
    set multiplot
    load 'style.gp'
    unset key
    unset grid
    set border 0
    set style fill solid 1 noborder
    set label 90 model.sprintf('    budget %.0f    ', budget).counts.' a cell' at screen 0.5, screen 1 - 20.0 / height center font ',13'
    set label 91 'lifetime (steps until re-use fades)' at screen (left + width - 20) / 2.0 / width, screen 54.0 / height center
    set label 92 '*  p < 0.05, McNemar, exact, paired by problem    **  also after Holm over all differences shown    small: 95 %' \
        at screen 0.5, screen 20.0 / height center font ',11' tc rgb '#444444'
    set xrange [0.5 : U + 0.5]
    set yrange [0.5 : V + 0.5]
    do for [l = 1:L] {
        do for [i = 1:P] {
            set lmargin at screen x_from(i) / width; set rmargin at screen (x_from(i) + panel_w) / width
            set bmargin at screen y_from(l) / height; set tmargin at screen (y_from(l) + panel_h) / height
            unset title
            if (l == 1) { set title heading(i) font ',12' offset 0, -0.6 }
            unset ylabel
            set xtics nomirror scale 0 offset 0, 0.3 ()
            set ytics nomirror scale 0 offset 0.4, 0 ()
            if (l == L) { do for [k = 1:U] { set xtics add (word(lifetimes, k) k) } } else { unset xtics }
            if (i == 1) {
                do for [k = 1:V] { set ytics add (word(shares, k) k) }
                set ylabel word(laws, l)."\nphoenix share" offset 0.4, 0
            } else { unset ytics }
            plot data using (of(i, l, 'u')):'v':(0.48):(0.46):(shade(column('value'), i)) with boxxyerror lc rgb variable, \
                data using (of(i, l, 'u')):(column('v') + 0.14):(text(i)):(ink(column('value'), i)) with labels font ',12' tc rgb variable, \
                data using (of(i, l, 'u')):(column('v') - 0.22):(interval(i)):(ink(column('value'), i)) with labels font ',8' tc rgb variable
            unset label
        }
    }
    unset multiplot
    unset output
}
